"""Two hostile tenants next to a healthy one, on the deployed stack: part of `make test`.

`healthy` is the tenant that must not be affected. `doors` are attacks that are refused at once. `loads` are attacks
that continue while the healthy tenant's deliveries are timed. `loops` are events that return. `processes` reads the
memory of the functions. `suite` runs them all.
"""
