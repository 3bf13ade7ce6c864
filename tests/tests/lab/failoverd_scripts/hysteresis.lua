-- Calm: so many bad updates in a row to leave, so many good ones to return.
ping_frequency   = 0.05
update_frequency = 0.1
num_seconds      = 0.5

local PRIMARY, BACKUP = "8.8.8.8", "1.1.1.1"
local BAD_LOSS, GOOD_LOSS = 40, 5
local LEAVE_AFTER, RETURN_AFTER = 3, 10

probes = { probe.new(PRIMARY, "wan1"), probe.new(BACKUP, "wan2") }

os.execute("ip route replace " .. PRIMARY .. " via 10.0.1.1 dev wan1")
os.execute("ip route replace " .. BACKUP .. " via 10.0.2.1 dev wan2")

local function set_default(n)
    return os.execute("ip route replace default via 10.0." .. n .. ".1 dev wan" .. n) == 0
end

assert(set_default(1), "no route to begin with")

local bad, good, on_primary, moves = 0, 0, true, 0

function on_update(gps)
    local loss = gps:get(PRIMARY):loss()
    if loss >= BAD_LOSS then
        bad, good = bad + 1, 0
    elseif loss <= GOOD_LOSS then
        bad, good = 0, good + 1
    else
        bad, good = 0, 0
    end

    if on_primary and bad >= LEAVE_AFTER and gps:get(BACKUP):loss() < BAD_LOSS then
        if set_default(2) then on_primary, moves = false, moves + 1 end
    elseif not on_primary and good >= RETURN_AFTER then
        if set_default(1) then on_primary, moves = true, moves + 1 end
    end
end

function on_quit()
    print("moves", moves)
end
