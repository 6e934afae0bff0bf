"""Two hostile tenants next to a healthy one, on the deployed stack: part of `make test`.

`healthy` is the tenant that must notice nothing. `doors` are attacks that are refused at once. `loads` are attacks that
go on while the healthy tenant's deliveries are timed. `loops` are events that come back. `processes` looks at the
memory of the functions. `suite` runs them.
"""
