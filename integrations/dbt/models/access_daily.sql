{{ config(materialized='view') }}
-- A view, since a snapshot that a person confirms later changes a day of the past. Ask it for some days.
with answering as (
    select
        c.organization_key,
        c.partition_date,
        c.observed_at,
        max(case when h.scope = 'project_permissions' then 1 else 0 end) as reads_projects
    from {{ source('sonar_access', 'sync_coverage') }} c
    join {{ source('sonar_access', 'history_observation') }} h
      on h.organization_key = c.organization_key and h.observed_at = c.observed_at
    group by c.organization_key, c.partition_date, c.observed_at
)

select
    a.organization_key,
    o.partition_date,
    a.login,
    a.access_type,
    a.resource,
    a.entitlement,
    a.granted_via,
    a.valid_from,
    a.changed_after,
    o.observed_at
from answering o
join {{ source('sonar_access', 'fct_user_access') }} a
  on a.organization_key = o.organization_key
 and a.valid_from <= o.observed_at
 and (a.valid_to is null or a.valid_to > o.observed_at)
where a.access_type <> 'project_permission' or o.reads_projects = 1
