-- Health of a ReplicationGap for Argo CD: ConfigMap argocd-cm, key resource.customizations.health.landfall.dev_ReplicationGap.
local health = {status = "Progressing", message = "nothing is recorded yet"}
local status = obj.status
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
