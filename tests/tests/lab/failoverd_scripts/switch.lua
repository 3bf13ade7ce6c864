-- The least that is useful: one target behind each uplink, and the default route goes where less is lost.
ping_frequency = 0.05
update_frequency = 0.2
num_seconds = 1
privileged = true

os.execute("ip route replace 8.8.8.8 via 10.0.1.1 dev wan1")
os.execute("ip route replace 1.1.1.1 via 10.0.2.1 dev wan2")

probes = {
    probe.new("8.8.8.8"),
    probe.new("1.1.1.1"),
}

gateways = {
    ["8.8.8.8"] = "via 10.0.1.1 dev wan1",
    ["1.1.1.1"] = "via 10.0.2.1 dev wan2",
}

function on_update(gps)
    ps = gps:lowest_loss()
    if current ~= ps:dst() then
        current = ps:dst()
        print("switching to " .. current)
        os.execute("ip route replace default " .. gateways[current])
    end
end

function on_quit(gps)
    print("Shutting down")
end
