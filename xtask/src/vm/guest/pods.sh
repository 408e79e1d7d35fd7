# Pods on a host with cgroup v2 alone, a part of init.sh: `refuses` is sampled until its annotation says no, then not at
# all, then at the frequency that it asks for; `agrees` is sampled throughout. Nothing else in the guest is (--cgroup): a
# sample too many has nowhere to hide.

kubepods=/sys/fs/cgroup/kubepods.slice
# Processes of the fork storm.
forks=200

uid_of() {
    printf $1 | md5sum | sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/'
}

# The cgroup of a pod's only container, as kubelet and containerd make it with systemd's driver.
container_of() {
    slice=$kubepods/kubepods-burstable.slice/kubepods-burstable-pod$(uid_of $1 | tr - _).slice
    echo $slice/cri-containerd-$(printf $1 | sha256sum | cut -c -64).scope
}

# Becomes a command in a pod's container; to be called in a shell of its own.
in_container() {
    echo 0 >$(container_of $1)/cgroup.procs || exit
    shift
    exec "$@"
}

# Tells the API server of a pod with these annotations.
tell() {
    cat >&3 <<END
{"kind":"Pod","metadata":{"namespace":"shop","name":"$1","uid":"$(uid_of $1)","annotations":{$2}},"spec":{"nodeName":"guest","containers":[{"name":"app"}]}}
END
}

# Waits until the agent's log says this of a pod, and prints after how many milliseconds.
applied() {
    until grep -q "applied: the pod is $1 .*delay_ms=" /tmp/pods; do
        kill -0 $run || return
        sleep 0.1
    done
    sed -n "s/.*applied: the pod is $1 .*delay_ms=\([0-9]*\).*/\1/p" /tmp/pods
}

# Who used the CPU since then, in seconds; a line.
services() {
    wget -q -O - "$page/api/services?from=${1}000" && echo
}

# Waits until the page shows samples of a pod since then.
shown() {
    until services $2 | grep -q "\"name\":\"$1\""; do
        kill -0 $run && kill -0 $chain || return
        sleep 0.5
    done
}

# Waits until all samples so far are in windows that have ended: no later window has one of them.
windows_closed() {
    until [ "$(samples pending)" = 0 ]; do
        kill -0 $run || return
        sleep 0.5
    done
}

pods() {
    mkdir -p $(container_of refuses) $(container_of agrees)
    mkfifo /tmp/objects
    /bin/in-pod guest $agent run --cgroup $kubepods --frequency 199 --interval 1s </tmp/objects >/tmp/pods 2>&1 &
    run=$!
    exec 3>/tmp/objects
    tell refuses
    tell agrees
    in_container refuses /bin/chain 1 &
    refusing=$!
    chain=$refusing
    more_samples 50 && shown refuses 0 && fact pods sampled at first

    tell refuses '"profiler/enabled":"false"'
    fact pods excluded within $(applied 'not sampled') ms
    fact pods taken when excluded $(taken)
    (in_container refuses /bin/busybox sh -c "for fork in \$(seq $forks); do /bin/busybox true || exit; done") &&
        fact pods taken after the storm $(taken)

    windows_closed || return
    since=$(($(date +%s) + 1))
    in_container agrees /bin/chain 0 &
    chain=$!
    more_samples 50 && shown agrees $since && kill -0 $refusing && section pods-excluded services $since
    kill $chain

    chain=$refusing
    since=$(date +%s)
    tell refuses '"profiler/frequency":"20"'
    fact pods slower within $(applied 'sampled at its frequency') ms
    shown refuses $since && section pods-slower services $since

    kill $refusing
    wait $refusing
    exec 3>&-
    wait $run
    fact pods ended $?
    section pods-log cat /tmp/pods
}
