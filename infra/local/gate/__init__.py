"""What stands between the functions and the emulator: AWS where the emulator is laxer than AWS.

The emulator serves every call of every caller. The gate runs in the emulator's own process, in front of its
application, and

* finds the function that makes a call (callers.py),
* derives what AWS would ask of that function's role: action, resource and condition keys (needs.py, tables.py),
* evaluates the policies of the deployed role (policy.py), and refuses what they do not allow in the service's own
  words (answers.py),
* counts calls and remembers what was refused (record.py), and which permissions nothing used (grants.py), for the end
  of `make test`,
* checks what services need: Lambda to poll and to log with a function's role, API Gateway to invoke a function
  (services.py),
* imitates SQS's message move tasks, which the emulator lacks (moves.py),
* throttles or repeats calls when a test asks for it (faults.py),
* hands on to the deployed API what is no call of AWS (front.py), and waits less for the functions' logs (logs.py).

Calls with the account's own keys, by tests and by SAM, pass unchecked. What the gate does not know it refuses. It
evaluates the policies of roles, not those of resources: the template has none that narrow a role.
"""
