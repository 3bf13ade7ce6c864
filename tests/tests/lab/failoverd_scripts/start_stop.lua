-- The second uplink is metered: it is only probed while the first one is in trouble.
ping_frequency = 0.05
update_frequency = 0.1
num_seconds = 1

os.execute("ip route replace 8.8.8.8 via 10.0.1.1 dev wan1")
os.execute("ip route replace 1.1.1.1 via 10.0.2.1 dev wan2")
os.execute("ip route replace default via 10.0.1.1 dev wan1")

probes = { probe.new("8.8.8.8") }

backup_runs = false
on_backup = false

function on_update(gps)
    local loss = gps:get("8.8.8.8"):loss()

    if loss >= 20 and not backup_runs then
        print("starting the probe of the backup")
        probe.start(probe.new("1.1.1.1", "wan2"))
        backup_runs = true
    end

    if backup_runs and not on_backup then
        local ok, backup = pcall(gps.get, gps, "1.1.1.1")
        if ok and loss >= 50 and backup:loss() < 10 then
            on_backup = true
            os.execute("ip route replace default via 10.0.2.1 dev wan2")
        end
    end

    if loss == 0 then
        if on_backup then
            on_backup = false
            os.execute("ip route replace default via 10.0.1.1 dev wan1")
        end
        if backup_runs then
            print("stopping the probe of the backup")
            probe.stop("1.1.1.1")
            backup_runs = false
        end
    end
end
