{{ config(materialized='view') }}
{%- set privileged = "('" ~ var('privileged_permissions') | join("', '") ~ "')" %}

with held as (
    select
        organization_key, login, 'organization' as scope, '' as project_key, entitlement as permission,
        granted_via, valid_from, valid_to, changed_after, last_seen_at
    from {{ source('sonar_access', 'fct_user_access') }}
    where access_type = 'organization_permission' and entitlement in {{ privileged }}
    union all
    select
        organization_key, login, 'project', project_key, permission,
        granted_via, valid_from, valid_to, changed_after, last_seen_at
    from {{ source('sonar_access', 'user_project_access') }}
    where permission in {{ privileged }}
),

last_observed as (
    select organization_key, scope, max(observed_at) as observed_at
    from {{ source('sonar_access', 'history_observation') }}
    group by organization_key, scope
)

select
    h.organization_key, h.login, u.name, h.scope, h.project_key, h.permission,
    h.granted_via, g.name as granted_via_name,
    h.valid_from, h.valid_to, h.changed_after, h.last_seen_at,
    n.observed_at as last_observed_at
from held h
left join {{ source('sonar_access', 'dim_user') }} u
  on u.organization_key = h.organization_key and u.login = h.login and u.valid_to is null
left join {{ source('sonar_access', 'dim_group') }} g
  on g.organization_key = h.organization_key and h.granted_via = 'group:' || g.group_id and g.valid_to is null
left join last_observed n
  on n.organization_key = h.organization_key
 and n.scope = case h.scope when 'project' then 'project_permissions' else 'core' end
