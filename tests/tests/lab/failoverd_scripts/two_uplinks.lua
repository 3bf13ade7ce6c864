-- The same target over both uplinks; the one with the lowest loss gets the traffic, known by the source address.
privileged = true
ping_frequency = 0.05
update_frequency = 0.1
num_seconds = 1

probes = {
    probe.new("8.8.8.8", "10.0.1.2"),
    probe.new("8.8.8.8", "10.0.2.2"),
}

-- Each address by its own way.
for table_id = 1, 2 do
    local gateway = "10.0." .. table_id .. ".1"
    local source = "10.0." .. table_id .. ".2"
    os.execute("ip route replace default via " .. gateway .. " table 10" .. table_id)
    os.execute("ip rule del from " .. source .. " 2>/dev/null")
    os.execute("ip rule add from " .. source .. " table 10" .. table_id)
end

function use(source)
    local gateway = string.gsub(source, "%.2$", ".1")
    os.execute("ip route replace default via " .. gateway)
    using = source
end

function on_recv(gps, ps)
    heard = (heard or 0) + 1
end

function on_update(gps)
    local best = gps:lowest_loss()
    if using == nil then
        use("10.0.1.2")
    elseif best:src() ~= using then
        io.write(string.format("%s has %.0f%%\n", best:src(), best:loss()))
        use(best:src())
    end
end

function on_quit()
    os.execute("ip rule del table 101; ip rule del table 102")
    print(heard .. " outcomes")
end
