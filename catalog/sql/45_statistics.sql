-- Figures that a DuckDB has no function for.

-- Two-sided p-value of a correlation `rho` of n pairs by Student's law with n − 2 degrees of freedom, in
-- closed form (Abramowitz and Stegun 26.7.3 and 26.7.4). Of ranks that is an approximation, of fewer than
-- ten pairs a bad one: there it is NULL. 0 at |rho| = 1; below about 1e-12 it is rounding.
create or replace macro internal.student_sum(angle, degrees) as
case when degrees % 2 = 0
    then sin(angle) * list_sum([
        exp(lgamma(k + 0.5) - lgamma(k + 1) - lgamma(0.5) + 2 * k * ln(cos(angle)))
        for k in range((degrees // 2)::bigint)])
    else (angle + coalesce(sin(angle) * list_sum([
        exp(lgamma(k + 1) - lgamma(k + 1.5) + lgamma(0.5) - ln(2) + (2 * k + 1) * ln(cos(angle)))
        for k in range(((degrees - 1) // 2)::bigint)]), 0)) * 2 / pi()
end;

create or replace macro internal.correlation_p(rho, n) as
case
    when rho is null or n < 10 then null
    when abs(rho) >= 1 - 1e-12 then 0
    else greatest(1 - internal.student_sum(asin(abs(rho)), n - 2), 0)
end;
