-- The one script that puts a split in force, called by everyone. It compares and stores raw bytes; its callers
-- validate.
-- KEYS: the keys of one route, all in one slot. ARGV: pairs of a name and a value; "" stands for nothing.
-- Returns {"applied", refusal, {field, value, ...}}, {"none", refusal} before the first split, {"again"} or
-- {"refused", why}; a refusal is what :rejected holds, likewise as fields and values.
-- Fields of hashes that Redis holds: "" and absent are the same. A key of the wrong type counts as missing.

local SPLIT, APPLIED, REJECTED, LATCH, RELEASE, MODELS, HISTORY = unpack(KEYS)
local HISTORY_LENGTH = 1000
local LANES = {'stable', 'canary'}
local MODEL_FIELDS = {stable = true, canary = true, previous = true, promoted = true}
local arg = {}
for i = 1, #ARGV, 2 do arg[ARGV[i]] = ARGV[i + 1] end

local function given(text) return text ~= nil and text ~= false and text ~= '' end

local function text_of(value) return type(value) == 'number' and string.format('%.0f', value) or value end

local function type_of(key) return redis.call('TYPE', key).ok end

local function read_hash(key)
  local key_type = type_of(key)
  if key_type ~= 'hash' then
    if key_type ~= 'none' then redis.call('DEL', key) end
    return {}
  end
  local flat, hash = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do
    if given(flat[i + 1]) then hash[flat[i]] = flat[i + 1] end
  end
  return hash
end

local function write_hash(key, hash)
  local flat = {}
  for field, value in pairs(hash) do
    flat[#flat + 1] = field
    flat[#flat + 1] = text_of(value) or ''
  end
  redis.call('HSET', key, unpack(flat))
end

-- What the keys hold.

local applied = read_hash(APPLIED)
applied.epoch, applied.rollout = tonumber(applied.epoch), tonumber(applied.rollout) or 0
if not applied.epoch then applied = nil end
local rejected = read_hash(REJECTED)
local latch = read_hash(LATCH)
latch.rollout = tonumber(latch.rollout)
local models = read_hash(MODELS)
models.promoted = tonumber(models.promoted)
local split = {type = type_of(SPLIT), raw = ''}
if split.type == 'string' then split.raw = redis.call('GET', SPLIT) end
local release = type_of(RELEASE)
if release == 'string' then release = redis.call('GET', RELEASE) elseif release == 'none' then release = nil end
local history_type = type_of(HISTORY)
if history_type ~= 'stream' and history_type ~= 'none' then redis.call('DEL', HISTORY) end

-- What the caller knows.

local registered = given(arg['registered.epoch']) and {
  raw = arg['registered.raw'], digest = arg['registered.digest'], canary = arg['registered.canary'],
  epoch = tonumber(arg['registered.epoch']), rollout = tonumber(arg['registered.rollout']),
  stable_version = arg['registered.stable_version'], canary_version = arg['registered.canary_version'],
}
local highest_epoch, brought = tonumber(arg.highest_epoch), tonumber(arg.latch)
local seen = {type = arg['seen.type'], raw = arg['seen.raw'], digest = arg['seen.digest'], canary = arg['seen.canary']}

local function rollout_in_force() return applied and applied.rollout or 0 end

local function share(document) return tonumber(document.canary) or 0 end

local top_rollout = math.max(
  rollout_in_force(), registered and registered.rollout or 0, brought or 0, latch.rollout or 0)
local top_epoch = math.max(applied and applied.epoch or 0, registered and registered.epoch or 0, highest_epoch)

local function holds(rollout)
  return latch.rollout and rollout <= latch.rollout and release ~= text_of(latch.rollout)
end

local function pending()
  if applied and split.type == 'string' and applied.raw == split.raw then return false end
  if not applied and split.type == 'none' then return false end
  if rejected.type == split.type and (rejected.raw or '') == split.raw then
    return rejected.code == 'overtaken' or (rejected.code == 'latched' and not holds(rollout_in_force()))
  end
  return true
end

-- The version that the rollout in force is compared with: once promoted, it goes on against the previous stable one.
local function compared(lane)
  if lane == 'stable' and applied and share(applied) > 0 and models.promoted == applied.rollout then
    return models.previous
  end
  return models[lane]
end

-- Another version in a lane where both name one: an absent version is never another.
local function another(bound)
  for _, lane in ipairs(LANES) do
    local was, is = bound[lane .. '_version'], compared(lane)
    if given(was) and given(is) and was ~= is then return true end
  end
  return false
end

local function note(what, raw, why)
  redis.call('XADD', HISTORY, 'MAXLEN', '~', HISTORY_LENGTH, '*', 'what', what, 'why', why, 'raw', raw,
    'epoch', text_of(top_epoch), 'time', arg.now, 'who', arg.who)
end

local function release_command() return 'SET ' .. RELEASE .. ' ' .. text_of(latch.rollout) end

local function write_split(raw)
  redis.call('SET', SPLIT, raw)
  split = {type = 'string', raw = raw}
end

local function put(what, why, new)
  local rollout_before = rollout_in_force()
  top_epoch = new.epoch or top_epoch + 1
  applied = applied or {rollout = 0}
  for field, value in pairs(new) do applied[field] = value end
  applied.epoch, applied.time, applied.who, applied.why = top_epoch, arg.now, arg.who, why
  for _, field in ipairs({'stable', 'canary', 'previous', 'promoted'}) do
    applied['models_' .. field] = models[field] or ''
  end
  write_hash(APPLIED, applied)
  note(what, applied.raw, why)
  -- A release has served its turn once a later rollout comes into force.
  local passes = latch.rollout and rollout_before <= latch.rollout and applied.rollout > latch.rollout
  if passes and release == text_of(latch.rollout) then
    redis.call('DEL', RELEASE)
    release = nil
  end
end

local function latched_why()
  local because = given(latch.reason) and ' (' .. latch.reason .. ')' or ''
  return 'rollout ' .. text_of(latch.rollout) .. ' was rolled back' .. because ..
    ': canary gets no share before a person ends the latch with: ' .. release_command()
end

local function reject(document, code, why)
  rejected = {
    type = document.type, raw = document.raw, digest = document.digest, code = code, why = why, time = arg.now,
  }
  write_hash(REJECTED, rejected)
end

local function write_models()
  redis.call('DEL', MODELS)
  local flat = {}
  for field, value in pairs(models) do
    if given(value) then
      flat[#flat + 1] = field
      flat[#flat + 1] = text_of(value)
    end
  end
  if #flat > 0 then redis.call('HSET', MODELS, unpack(flat)) end
end

-- The fields of the next split under canary's next weight: canary leaving 0 with another version, or after a
-- rollback, is a new rollout, bound to the models as they are; a running or resumed one keeps its versions and gains those it lacked.
local function under(document)
  local next_split = {
    raw = document.raw, digest = document.digest, canary = document.canary, rollout = rollout_in_force(),
  }
  local fresh = share(document) > 0 and (rollout_in_force() == 0
    or (share(applied) == 0 and (another(applied) or (latch.rollout or 0) >= applied.rollout)))
  if fresh then next_split.rollout = top_rollout + 1 end
  if share(document) > 0 or not applied then
    for _, lane in ipairs(LANES) do
      local kept = applied and not fresh and applied[lane .. '_version']
      next_split[lane .. '_version'] = compared(lane) or kept or ''
    end
  end
  return next_split
end

local function in_force()
  local refusal = {}
  for field, value in pairs(rejected) do
    refusal[#refusal + 1] = field
    refusal[#refusal + 1] = value
  end
  if not applied then return {'none', refusal} end
  return {'applied', refusal, redis.call('HGETALL', APPLIED)}
end

-- 1. Remember what Redis forgot.

if registered and (not applied or applied.epoch < registered.epoch) then
  if not pending() then write_split(registered.raw) end
  local same = applied and applied.raw == registered.raw and applied.rollout == registered.rollout
    and (applied.stable_version or '') == registered.stable_version
    and (applied.canary_version or '') == registered.canary_version
  models = {stable = arg['registered.models_stable'], canary = arg['registered.models_canary'],
    previous = arg['registered.models_previous'], promoted = arg['registered.models_promoted']}
  models.promoted = tonumber(models.promoted)
  for field, version in pairs(models) do if not given(version) then models[field] = nil end end
  write_models()
  local forgotten = 'remembered: Redis had forgotten epoch ' .. text_of(registered.epoch)
  registered.rollout = math.max(registered.rollout, rollout_in_force())
  if not (same and registered.epoch >= highest_epoch) then registered.epoch = top_epoch + 1 end
  put('remembered', forgotten, registered)
elseif applied and applied.epoch < highest_epoch then
  put('epoch raised', 'raised above epoch ' .. text_of(highest_epoch) .. ', which a router used without Redis', {})
end
local rollout_before = rollout_in_force()

-- 2. Latch what was rolled back.

if brought and brought > (latch.rollout or 0) then
  latch = {rollout = brought, reason = arg.latch_reason, time = arg.now}
  write_hash(LATCH, latch)
  redis.call('DEL', RELEASE)
  release = nil
  note('latched', '', 'rollout ' .. text_of(brought) .. ' was rolled back: ' .. arg.latch_reason)
  if models.promoted == brought then
    models.stable, models.promoted = models.previous, nil
    write_models()
  end
end
if release and not (latch.rollout and release == text_of(latch.rollout) and rollout_before <= latch.rollout) then
  redis.call('DEL', RELEASE)
  note('release of nothing', release, ':release named no holding latch and was deleted')
  release = nil
end
local latched = holds(rollout_before)
if latch.rollout then
  local state = latched and 'holds' or 'over'
  if not latched and (release or latch.state == 'released') then state = 'released' end
  if state ~= latch.state then
    if state == 'released' then
      note('released', release, 'rollout ' .. text_of(latch.rollout) .. ' was released by: ' .. release_command())
    end
    latch.state, latch.command = state, latched and release_command() or ''
    write_hash(LATCH, latch)
  end
end
-- A refusal names the command that ends the latch as it is now.
if latched and rejected.code == 'latched' and rejected.why ~= latched_why() then
  reject(rejected, 'latched', latched_why())
end

-- 3. Roll back. It waits for nothing.

if latched and applied and share(applied) > 0 then
  if pending() then
    local why = 'overtaken by the rollback of rollout ' .. text_of(latch.rollout) ..
      ': SET it again if it is still wanted'
    local digest = split.raw == seen.raw and split.type == seen.type and seen.digest or ''
    reject({type = split.type, raw = split.raw, digest = digest}, 'overtaken', why)
    note('overtaken', split.raw, why)
  end
  write_split(arg['all_stable.raw'])
  put('rolled back', 'rolled back rollout ' .. text_of(latch.rollout) .. ': ' .. (latch.reason or ''),
    {raw = arg['all_stable.raw'], digest = arg['all_stable.digest'], canary = '0.0'})
  return in_force()
end

-- 4. New version.

if applied and share(applied) > 0 then
  local lacks = false
  for _, lane in ipairs(LANES) do lacks = lacks or (not given(applied[lane .. '_version']) and given(compared(lane))) end
  if another(applied) then
    top_rollout = top_rollout + 1
    put('new version', 'another model version was registered: rollout ' .. text_of(top_rollout),
      {rollout = top_rollout, stable_version = models.stable or '', canary_version = models.canary or ''})
  elseif lacks then
    put('bound', 'bound to the model versions registered since', under(applied))
  end
end

-- A field of :models that means nothing is most likely a lane misspelt: it is left alone, and shown once.

local unknown = {}
for field in pairs(models) do if not MODEL_FIELDS[field] then unknown[#unknown + 1] = field end end
table.sort(unknown)
local names = table.concat(unknown, ' ')
if applied and names ~= (applied.unknown_in_models or '') then
  applied.unknown_in_models = names
  redis.call('HSET', APPLIED, 'unknown_in_models', names)
  if names ~= '' then
    note('unknown model', names, ':models has what is no lane (the lanes are stable and canary), so no job and no ' ..
      'rollout heeds it; remove it with: HDEL ' .. MODELS .. ' ' .. names)
  end
end

-- 5. Step.

if given(arg['step.on']) then
  local step = {raw = arg['step.raw'], digest = arg['step.digest'], canary = arg['step.canary']}
  local promote, on, epoch = arg['step.promote'] == '1', tonumber(arg['step.on']), applied and applied.epoch or 0
  local version, rollout = arg['step.start'], tonumber(arg['step.rollout'])
  local starts = given(version)
  if not starts then
    if not applied then return {'refused', 'no split has been applied yet'} end
    if latched then return {'refused', 'the latch of rollout ' .. text_of(latch.rollout) .. ' holds'} end
  end
  if pending() then return {'refused', 'an edit of the split is pending'} end
  if epoch ~= on then
    return {'refused', 'decided on epoch ' .. text_of(on) .. ', but epoch ' .. text_of(epoch) .. ' is in force'}
  end
  if starts then
    if rollout <= top_rollout then
      return {'refused', 'rollout ' .. text_of(rollout) .. ' cannot begin: rollout ' .. text_of(top_rollout) ..
        ' is known already'}
    end
    if applied and share(applied) > 0 then return {'refused', 'canary has a share: a rollout begins with none'} end
    models.canary = version
    write_models()
    write_split(step.raw)
    put('started', 'start of rollout ' .. text_of(rollout) .. ': canary is version ' .. version,
      {raw = step.raw, digest = step.digest, canary = step.canary, rollout = rollout,
        stable_version = models.stable or '', canary_version = version})
    return in_force()
  end
  if promote and (share(applied) == 0 or not given(models.canary)) then
    return {'refused', 'a promotion needs a canary with a share and a registered model version'}
  end
  local next_split = promote and {} or under(step)
  local next_rollout = next_split.rollout or applied.rollout
  if rollout and next_rollout ~= rollout then
    return {'refused', 'a step of rollout ' .. text_of(rollout) .. ', but the split would be one of rollout ' ..
      text_of(next_rollout)}
  end
  if promote then
    models.previous, models.stable, models.promoted = models.stable, models.canary, applied.rollout
    write_models()
    put('promoted', 'promotion of rollout ' .. text_of(applied.rollout), next_split)
  else
    write_split(step.raw)
    put('step', 'step of rollout ' .. text_of(applied.rollout), next_split)
  end
  return in_force()
end

-- 6. Judge the pending document.

if pending() then
  if seen.type ~= split.type or seen.raw ~= split.raw then return {'again'} end
  if not given(seen.canary) then
    reject(seen, 'invalid', arg['seen.refusal'])
    note('refused', seen.raw, rejected.why)
  elseif share(seen) > 0 and latched then
    reject(seen, 'latched', latched_why())
    note('refused', seen.raw, rejected.why)
  else
    put('applied', 'proposed in :split', under(seen))
  end
end
return in_force()
