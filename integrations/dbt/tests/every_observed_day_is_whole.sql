-- Days on which the model has other members than the warehouse counts.
with modelled as (
    select organization_key, partition_date, count(*) as members
    from {{ ref('access_daily') }}
    where access_type = 'membership'
    group by organization_key, partition_date
)

select c.organization_key, c.partition_date, c.members, m.members as modelled
from {{ source('sonar_access', 'daily_count') }} c
full join modelled m on m.organization_key = c.organization_key and m.partition_date = c.partition_date
where coalesce(c.members, 0) <> coalesce(m.members, 0)
