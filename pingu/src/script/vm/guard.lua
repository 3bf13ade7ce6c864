-- Runs once in each machine, before any script. Everything is kept in locals: a script may change every global.
local own = ...
local over, raise, sandbox, longest = own.over, own.raise, own.sandbox, own.longest
local pcall, xpcall, error, type, tonumber, tostring, select = pcall, xpcall, error, type, tonumber, tostring, select
local loadstring, setmetatable, getmetatable = loadstring, setmetatable, getmetatable
local byte, rep, sub, concat = string.byte, string.rep, string.sub, table.concat
local resume = coroutine.resume
local unpack = unpack

-- Whoever catches errors catches this one too, and passes it on.
local function passed(...)
  if over() then
    raise()
  end
  return ...
end

local guarded = function(f, ...)
  return passed(pcall(f, ...))
end
_G.pcall = guarded

_G.xpcall = function(f, handler)
  return passed(xpcall(f, function(...)
    -- Errors of a hook are handled while hooks rest: nothing would ever end a handler that loops.
    if over() then
      return ...
    end
    return handler(...)
  end))
end

coroutine.resume = function(...)
  return passed(resume(...))
end

local function text_only(text, name)
  if type(text) ~= "string" then
    error("bad argument #1 to 'loadstring' (string expected, got " .. type(text) .. ")", 3)
  end
  if byte(text, 1) == 27 then
    return nil, "byte code is not loaded"
  end
  return loadstring(text, name or text)
end

_G.loadstring = function(text, name)
  return text_only(text, name)
end

_G.load = function(read, name)
  if type(read) ~= "function" then
    error("bad argument #1 to 'load' (function expected, got " .. type(read) .. ")", 2)
  end
  local pieces = {}
  local good, message = guarded(function()
    while true do
      local piece = read()
      if piece == nil or piece == "" then
        return
      end
      if type(piece) ~= "string" then
        error("reader function must return a string", 0)
      end
      pieces[#pieces + 1] = piece
    end
  end)
  if not good then
    return nil, message
  end
  return text_only(concat(pieces), name or "=(load)")
end

-- A loop in C that no hook interrupts, and a length that no memory holds.
string.rep = function(text, count)
  if type(text) == "string" and tonumber(count) and #text * tonumber(count) > longest then
    error("not enough memory", 2)
  end
  if text == "" then
    return ""
  end
  return rep(text, count)
end

-- The originals recurse without a limit and stop for nobody.
string.find, string.match, string.gmatch, string.gfind = own.find, own.match, own.gmatch, own.gmatch
local by_template, by = own.gsub, own.gsub_by
string.gsub = function(text, pattern, replacement, times)
  local kind = type(replacement)
  if kind == "string" or kind == "number" then
    return by_template(text, pattern, replacement, times)
  end
  if kind ~= "table" and kind ~= "function" then
    error("bad argument #3 to 'gsub' (string/function/table expected, got " .. kind .. ")", 2)
  end
  local advance = by(text, pattern, times)
  local caught = { advance() }
  while caught[1] ~= nil do
    local value
    if kind == "table" then
      value = replacement[caught[1]]
    else
      value = replacement(unpack(caught))
    end
    if not value then
      value = nil
    elseif type(value) ~= "string" and type(value) ~= "number" then
      error("invalid replacement value (a " .. type(value) .. ")", 2)
    end
    caught = { advance(value) }
  end
  return caught[2], caught[3]
end

-- `%s` takes every value, as it does where failoverd's scripts come from, and in later Luas.
local format, gmatch = string.format, own.gmatch
local function formatted(good, text)
  if good then
    return text
  end
  if text == "not enough memory" then
    error(text, 0)
  end
  error((by_template(text, "to '%?'", "to 'format'")), 3)
end

local function as_texts(template, count, ...)
  local values, place = { ... }, 0
  for kind in gmatch(template, "%%[-+ #0-9.]*(.)") do
    if kind ~= "%" then
      place = place + 1
      if kind == "s" and place <= count and type(values[place]) ~= "string" then
        values[place] = tostring(values[place])
      end
    end
  end
  return unpack(values, 1, count)
end

string.format = function(template, ...)
  local count = select("#", ...)
  for place = 1, count do
    local kind = type((select(place, ...)))
    if kind ~= "string" and kind ~= "number" and type(template) == "string" then
      return formatted(pcall(format, template, as_texts(template, count, ...)))
    end
  end
  return formatted(pcall(format, template, ...))
end

-- Finalizers run while hooks rest.
local newproxy = newproxy
_G.newproxy = function(metatable)
  if metatable then
    error("no finalizers here: newproxy takes no metatable", 2)
  end
  return newproxy(false)
end

-- The locale belongs to the whole process, and so does its end.
os.setlocale = function(locale)
  if locale == nil or locale == "" or locale == "C" then
    return "C"
  end
  return nil
end
os.exit = function()
  error("os.exit is not for this script: it would end pingu", 2)
end

-- What changes frames, hooks or metatables undoes the budget by mistake. What looks at them could find the plain pcall; whoever looks for
-- that has os.execute as well, and in a sandbox there is none of this.
local library = debug or {}
_G.debug = {
  traceback = own.traceback,
  getinfo = library.getinfo,
  getlocal = library.getlocal,
  getupvalue = library.getupvalue,
}

if own.print then
  local print, tostring = own.print, tostring
  _G.print = function(...)
    local texts = {}
    for index = 1, select("#", ...) do
      local text = tostring((select(index, ...)))
      if type(text) ~= "string" then
        error("'tostring' must return a string to 'print'", 2)
      end
      texts[index] = text
    end
    print(concat(texts, "\t"))
  end
end

if io then
  local open, stdin = io.open, io.stdin
  local function load_file(name)
    local file, message
    if name == nil then
      file = stdin
    else
      file, message = open(name, "rb")
      if not file then
        return nil, "cannot open " .. message
      end
    end
    local text = file:read("*a")
    if name ~= nil then
      file:close()
    end
    if type(text) ~= "string" then
      return nil, "cannot read " .. tostring(name)
    end
    if byte(text, 1) == 239 and byte(text, 2) == 187 and byte(text, 3) == 191 then
      text = sub(text, 4)
    end
    if byte(text, 1) == 35 then
      text = "--" .. text
    end
    return text_only(text, name and "@" .. name or "=stdin")
  end
  _G.loadfile = load_file
  _G.dofile = function(name)
    local run, message = load_file(name)
    if not run then
      error(message, 0)
    end
    return run()
  end
end

if package then
  package.loaded.debug = _G.debug
end

if sandbox then
  local collectgarbage = collectgarbage
  _G.collectgarbage = function(what)
    what = what or "collect"
    if what ~= "collect" and what ~= "count" and what ~= "step" then
      error("collectgarbage does only 'collect', 'count' and 'step' here", 2)
    end
    return collectgarbage(what)
  end
  getmetatable("").__metatable = "protected"
end
