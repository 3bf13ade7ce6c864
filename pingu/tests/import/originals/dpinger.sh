#!/bin/sh
PEER=192.0.2.2
/usr/local/bin/dpinger -S -r 0 -i WAN -B "$PEER" -s 500 -l 2000 -t 60000 -d 1 -D 500 -L 20 -p /var/run/dpinger_WAN.pid \
    -u /var/run/x.sock -C "/etc/rc.gateway_alarm" 203.0.113.1 >/dev/null &
dpinger -f -i LTE -B 198.51.100.9 -A 1s -L 35% 203.0.113.9
dpinger fe80::1%igb1 -L 35%
