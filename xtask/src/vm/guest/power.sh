#!/bin/busybox sh
# First process of the guest whose power is cut: writes a spool on the disk, or reads it ("spool=" of the kernel's command
# line is a variable of ours).

# Applets of the shell are run through /proc.
export PATH=/bin

/bin/busybox mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
# Nothing of the kernel's may stand between our lines.
echo 1 >/proc/sys/kernel/printk
echo "@@ fact kernel $(uname -r)"
until [ -b /dev/nvme0n1 ]; do
    sleep 0.1
done
mount -t ext4 /dev/nvme0n1 /disk
/bin/profiler-agent spool-$spool /disk/spool
echo "@@ fact $spool ended $?"
umount /disk
reboot -f
