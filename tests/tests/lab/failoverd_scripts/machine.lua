-- A state machine in globals, a ranking by table.sort, and a report as a table.
ping_frequency = 0.05
update_frequency = 0.1
num_seconds = 1
privileged = true

UPLINKS = {
    { name = "fibre", dev = "wan1", gw = "10.0.1.1", targets = { "8.8.8.8", "8.8.4.4" }, penalty = 0 },
    { name = "lte",   dev = "wan2", gw = "10.0.2.1", targets = { "1.1.1.1", "1.0.0.1" }, penalty = 10 },
}

probes = {}
for _, u in ipairs(UPLINKS) do
    for _, t in ipairs(u.targets) do
        os.execute(string.format("ip route replace %s via %s dev %s", t, u.gw, u.dev))
        probes[#probes + 1] = probe.new(t, u.dev)
    end
end

STATE = "INIT"
transitions = {}

local function score(u, gps)
    -- One dead target is not a dead uplink: the best of them counts.
    local best = 100
    for _, t in ipairs(u.targets) do
        best = math.min(best, gps:get(t):loss())
    end
    u.score = best + u.penalty
    return u.score
end

local function go(state, why)
    print(string.format("%-8s -> %-8s (%s)", STATE, state, why))
    table.insert(transitions, STATE .. ">" .. state)
    STATE = state
end

local function activate(u)
    os.execute("ip route replace default via " .. u.gw .. " dev " .. u.dev)
end

local handlers = {
    INIT = function(ranking)
        activate(UPLINKS[1])
        go("PRIMARY", "start")
    end,
    PRIMARY = function(ranking)
        if ranking[1] ~= UPLINKS[1] then
            activate(ranking[1])
            go("BACKUP", string.format("%s has a score of %.1f", UPLINKS[1].name, UPLINKS[1].score))
        end
    end,
    BACKUP = function(ranking)
        if ranking[1] == UPLINKS[1] then go("PROBATION", "better again"); ticks = 0 end
    end,
    PROBATION = function(ranking)
        ticks = ticks + 1
        if ranking[1] ~= UPLINKS[1] then
            go("BACKUP", "not yet")
        elseif ticks >= 5 then
            activate(UPLINKS[1])
            go("PRIMARY", "stable")
        end
    end,
}

function on_update(gps)
    local ranking = {}
    for i, u in ipairs(UPLINKS) do
        score(u, gps)
        ranking[i] = u
    end
    table.sort(ranking, function(a, b) return a.score < b.score end)
    handlers[STATE](ranking)
end

function on_quit(gps)
    print(table.concat(transitions, " "))
    print(("%-10s|%8s"):format("target", "loss"))
    for _, u in ipairs(UPLINKS) do
        for _, t in ipairs(u.targets) do
            print(("%-10s|%7.2f%%"):format(t, gps:get(t):loss()))
        end
    end
end
