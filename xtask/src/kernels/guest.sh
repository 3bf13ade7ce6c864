# In the virtual machine: all of the host's files, of which none can be changed, and a kernel of its own.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Lines end as everywhere.
stty -onlcr
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mkdir -p /lib/modules /run/lock
ln -sfn "$MODULES/$(uname -r)" "/lib/modules/$(uname -r)"
modprobe tun
ip link set lo up
