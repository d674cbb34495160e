-- Health of Landfall's objects for Argo CD: ConfigMap argocd-cm, keys resource.customizations.health.landfall.dev_LandingPolicy and
-- resource.customizations.health.landfall.dev_ReplicationGap, both with all of this.
local status = obj.status

local function policy()
  local health = {status = "Progressing", message = "Landfall has not looked at it yet"}
  if status == nil or status.observedGeneration ~= obj.metadata.generation then
    return health
  end
  local said = {}
  for _, condition in ipairs(status.conditions or {}) do
    said[condition.type] = condition
  end
  local accepted, enforcing = said["Accepted"], said["Enforcing"]
  if accepted == nil or enforcing == nil then
    return health
  end
  if accepted.status == "False" then
    return {status = "Degraded", message = accepted.message}
  end
  health.message = enforcing.message
  local reason = enforcing.reason
  if enforcing.status == "True" or reason == "Observing" then
    health.status = "Healthy"
  elseif reason == "BreakGlass" then
    -- Somebody has opened it on purpose, for some time.
    health.status = "Suspended"
  elseif enforcing.status == "Unknown" or reason == "WaitingForReplicas" or reason == "WaitingForEntry" then
    health.status = "Progressing"
  else
    health.status = "Degraded"
  end
  return health
end

local function gap()
  local health = {status = "Progressing", message = "nothing is recorded yet"}
  if status == nil or status.state == nil then
    return health
  end
  health.message = status.message or ""
  if status.state == "Closed" then
    health.status = "Healthy"
  elseif status.state == "Healing" then
    health.status = "Progressing"
  elseif status.presence ~= nil and status.presence.finding ~= nil then
    health.status = "Degraded"
  elseif status.scan ~= nil and status.scan.finding ~= nil then
    health.status = "Degraded"
  else
    -- A risk decides about no Pod today.
    health.status = "Suspended"
  end
  return health
end

if obj.kind == "LandingPolicy" then
  return policy()
end
return gap()
