-- Failover with a log that a spreadsheet can read.
local FILE = "failover.csv"
local THRESHOLD = 30

ping_frequency = 0.05
update_frequency = 0.1
num_seconds = 1
privileged = true

os.execute("ip route replace 8.8.8.8 via 10.0.1.1")
os.execute("ip route replace 1.1.1.1 via 10.0.2.1")
os.execute("ip route replace default via 10.0.1.1")

probes = { probe.new("8.8.8.8", "wan1"), probe.new("1.1.1.1", "wan2") }

local active = "wan1"
local started = os.time()

local function log(event, gps)
    local file, why = io.open(FILE, "a")
    if not file then
        io.stderr:write("cannot log: ", why, "\n")
        return
    end
    if file:seek("end") == 0 then
        file:write("time,uptime,event,active,loss1,loss2\n")
    end
    file:write(string.format("%s,%d,%s,%s,%.1f,%.1f\n",
        os.date("!%Y-%m-%dT%H:%M:%SZ"),
        os.difftime(os.time(), started),
        event, active,
        gps:get("8.8.8.8"):loss(), gps:get("1.1.1.1"):loss()))
    file:close()
end

function on_update(gps)
    local first, second = gps:get("8.8.8.8"):loss(), gps:get("1.1.1.1"):loss()
    local event = "ok"
    if active == "wan1" and first > THRESHOLD and second < first then
        active, event = "wan2", "failover"
        os.execute("ip route replace default via 10.0.2.1")
    elseif active == "wan2" and first == 0 then
        active, event = "wan1", "failback"
        os.execute("ip route replace default via 10.0.1.1")
    end
    log(event, gps)
end

function on_quit(gps)
    log("quit", gps)
end
