/usr/local/bin/dpinger -S -r 0 -i WAN_DHCP -B 10.0.1.2 \
    -p /var/run/dpinger_WAN_DHCP~10.0.1.2~8.8.8.8.pid -u /var/run/dpinger_WAN_DHCP~10.0.1.2~8.8.8.8.sock \
    -C "/etc/rc.gateway_alarm" -d 1 -s 500 -l 2000 -t 20000 -A 1000 -D 500 -L 20 8.8.8.8
/usr/local/bin/dpinger -S -r 0 -i OPT1_DHCP -B 10.0.2.2 \
    -p /var/run/dpinger_OPT1_DHCP~10.0.2.2~1.1.1.1.pid -u /var/run/dpinger_OPT1_DHCP~10.0.2.2~1.1.1.1.sock \
    -C "/etc/rc.gateway_alarm" -d 1 -s 500 -l 2000 -t 20000 -A 1000 -D 500 -L 20 1.1.1.1
