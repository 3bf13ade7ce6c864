#!/bin/sh
# The first process: lays a file system in memory over the host's files, and goes on there.
for module in /modules/*; do busybox insmod "$module"; done
busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /lower
busybox mount -t tmpfs -o size=50% tmpfs /upper
busybox mkdir /upper/files /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new
exec busybox switch_root /new /bin/sh "$GUEST"
