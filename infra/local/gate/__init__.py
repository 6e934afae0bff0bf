"""A gate between the functions and the emulator, which enforces what AWS enforces and the emulator does not.

The emulator serves every call of every caller. The gate runs in the emulator's own process, in front of its
application, and

* finds the function that makes a call (callers.py),
* derives the permissions that AWS would require: action, resource and condition keys (needs.py, tables.py),
* evaluates the policies of the deployed role (policy.py), and refuses other calls with the service's own errors
  (answers.py),
* counts calls and refusals (record.py) and unused permissions (grants.py), for the end of `make test`,
* checks the permissions of services: Lambda polling and logging with a function's role, API Gateway invoking
  (services.py),
* imitates SQS's message move tasks, which the emulator lacks (moves.py),
* throttles or repeats calls on a test's request (faults.py),
* passes requests that are not calls of AWS on to the deployed API (front.py), and waits less for the functions' logs
  (logs.py).

Calls with the account's own keys, by tests and by SAM, pass unchecked. The gate refuses operations that it does not
know. It evaluates policies of roles, not of resources: the template has no resource policy that narrows a role.
"""
