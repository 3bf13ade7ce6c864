-- Targets by their names: whatever address they have today, each gets a route by its uplink.
local dns = require("dns")
dns.set_timeout(2000)

ping_frequency = 0.05
update_frequency = 0.2
num_seconds = 1
privileged = true
probes = {}

uplinks = {
    { name = "wan1", gateway = "10.0.1.1", hosts = { "one.first.example", "two.first.example" } },
    { name = "wan2", gateway = "10.0.2.1", hosts = { "second.example" } },
}

owner = {}
for _, uplink in ipairs(uplinks) do
    for _, host in ipairs(uplink.hosts) do
        local ok, addresses = pcall(dns.lookup_v4, host)
        if not ok then
            io.stderr:write("no address for ", host, ": ", tostring(addresses), "\n")
            addresses = {}
        end
        for i, address in ipairs(addresses) do
            os.execute(("ip route replace %s via %s dev %s"):format(address, uplink.gateway, uplink.name))
            table.insert(probes, probe.new(address))
            owner[address] = uplink
        end
    end
end
print(#probes .. " probes")

function on_update(gps)
    local sum, count = {}, {}
    for address, uplink in pairs(owner) do
        sum[uplink] = (sum[uplink] or 0) + gps:get(address):loss()
        count[uplink] = (count[uplink] or 0) + 1
    end
    local best
    for _, uplink in ipairs(uplinks) do
        local loss = sum[uplink] / count[uplink]
        if not best or loss < sum[best] / count[best] - 5 then
            best = uplink
        end
    end
    if best ~= active then
        active = best
        os.execute("ip route replace default via " .. best.gateway .. " dev " .. best.name)
    end
end
