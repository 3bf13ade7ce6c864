-- Routes by iproute2, as a module in the manner of Lua 5.1.
local os, string, print = os, string, print

module("routes")

active = 0

local function ip(...)
    local command = "ip route replace " .. string.format(...)
    if os.execute(command) ~= 0 then print("failed: " .. command) end
end

function host(target, gateway, device)
    ip("%s via %s dev %s", target, gateway, device)
end

function default(device, gateway)
    ip("default via %s dev %s", gateway, device)
end
