#!/bin/busybox sh
# First process of the guest: runs the agent and prints what it says between markers, which the host reads.

# Applets of the shell are run through /proc.
export PATH=/bin
agent=/bin/profiler-agent
page=http://127.0.0.1:4041

/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
# Nothing of the kernel's may stand between our lines.
echo 1 >/proc/sys/kernel/printk
ip link set lo up

section() {
    name=$1
    shift
    # Not straight to the console: a terminal would be shown progress.
    "$@" >/tmp/section 2>&1 </dev/null
    status=$?
    echo "@@ begin $name"
    cat /tmp/section
    echo "@@ end $name $status"
}

fact() {
    echo "@@ fact $*"
}

# A term of the ledger.
samples() {
    wget -q -O - $page/metrics 2>/dev/null | awk -v name=profiler_samples_$1 '$1 == name { print $2 }'
}

# 0 while the agent does not answer.
taken() {
    echo $(($(samples taken_total) + 0))
}

# Field 39 of proc(5): the CPU it ran on last. Names of our programs have no blanks.
cpu_of() {
    cut -d ' ' -f 39 /proc/$1/stat
}

# Events, maps and programs; files that are read for names come and go.
descriptors() {
    ls -l /proc/$1/fd | grep -c anon_inode
}

# Waits have no end of their own: the host's patience with the whole machine is the only limit. What can no longer come
# true ends them, with 1.

# Waits until this many samples more were taken.
more_samples() {
    from=$(taken)
    until [ $(($(taken) - from)) -ge $1 ]; do
        kill -0 $run && kill -0 $chain || return
        sleep 0.5
    done
}

# Waits until the process runs on the CPU.
runs_on() {
    until [ "$(cpu_of $1)" = $2 ]; do
        kill -0 $1 || return
        sleep 0.5
    done
}

# Takes CPU 1 away or brings it back: a kernel gives up on a CPU that is slow to answer.
cpu1_online() {
    until echo $1 >/sys/devices/system/cpu/cpu1/online; do
        sleep 1
    done
}

# Waits until the agent holds as many descriptors as it did so many half seconds ago, and prints how many.
settled_descriptors() {
    last=
    same=0
    while [ $same -lt 6 ]; do
        now=$(descriptors $run)
        [ "$now" = "$last" ] && same=$((same + 1)) || same=0
        last=$now
        sleep 0.5
    done
    echo $last
}

hotplug() {
    cpu1_online 1
    /bin/chain 1 &
    chain=$!
    $agent run --frequency 199 --pid $chain --interval 1s --log-level warn >/tmp/run 2>&1 </dev/null &
    run=$!
    more_samples 100 && fact samples before || return
    runs_on $chain 1 || return
    fact descriptors before $(settled_descriptors)
    for round in 1 2 3; do
        cpu1_online 0
        more_samples 50 && runs_on $chain 0 && fact samples offline $round
        cpu1_online 1
        runs_on $chain 1 && more_samples 50 && [ "$(cpu_of $chain)" = 1 ] && fact samples online $round
    done
    fact descriptors after $(settled_descriptors)
    kill $chain
    wait $chain
    fact chain ended $?
    sleep 3
    section metrics wget -q -O - $page/metrics
    kill $run
    wait $run
    fact run ended $?
    section run cat /tmp/run
}

. /pods

fact kernel $(uname -r)
section doctor $agent doctor --json
section verify $agent verify

/bin/chain 0 &
section record $agent record --frequency 199 --duration 10s --pid $! --output /tmp/chain.folded
kill $!
section stacks cat /tmp/chain.folded
section command $agent record --frequency 199 --duration 600s --output /tmp/command.folded -- /bin/chain
section command-stacks cat /tmp/command.folded
pods
hotplug
section log sh -c 'dmesg | grep -E "BUG:|WARNING:|Oops|stall|segfault|trap"'
fact done
reboot -f
