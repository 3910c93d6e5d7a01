{% test one_row_per(model, columns) %}
-- Rows that the columns, which should name one, name more often.
select {{ columns | join(', ') }}, count(*) as times
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
