"""Tests of the HTTP API of infra/template.yaml: its access log, CORS and throttles."""

from __future__ import annotations

import json
import re
import unittest

from resolved import TEMPLATE, Resolved

# Without escaping, this value ends its JSON string.
HOSTILE = 'x","status":"200","y":"\\'

# Variables whose values contain no quote, backslash or control character, each with a value that API Gateway writes.
SAFE = {
    "requestId": "JKJaXmPLvHcESHA=",
    "requestTime": "28/Nov/2026:18:40:57 +0000",
    "identity.sourceIp": "2001:db8::7",
    "httpMethod": "GET",
    "routeKey": "ANY /api/{proxy+}",
    "protocol": "HTTP/1.1",
    "status": "200",
    "error.responseType": "UNAUTHORIZED",
    "responseLatency": "12",
    "integrationLatency": "9",
    "integrationStatus": "200",
    "responseLength": "1337",
    # Made safe by the authorizer: domain::access::caller::for_log.
    "authorizer.log_tenant": "acme",
    "authorizer.log_subject": "auth0|5f7c8ec7c33c6c004bbafe82",
}

VARIABLE = re.compile(r"\$context\.([A-Za-z0-9_.]+)")
CORS = "https://console.example.com,http://localhost:5173"


class AccessLog(unittest.TestCase):
    """The format of the access log, with each variable replaced by its value, or `-` without one, as API Gateway
    does."""

    def setUp(self) -> None:
        self.format = Resolved().resource("HttpStage")["AccessLogSettings"]["Format"]

    def fill(self, values: dict[str, str], otherwise: str) -> dict:
        return json.loads(VARIABLE.sub(lambda found: values.get(found[1], otherwise), self.format))

    def test_is_json_whatever_a_request_holds(self) -> None:
        line = self.fill(SAFE, HOSTILE)
        self.assertEqual(line["status"], SAFE["status"])
        self.assertEqual((line["sourceIp"], line["tenant"]), ("2001:db8::7", "acme"))

    def test_is_json_where_nothing_is_known(self) -> None:
        self.assertEqual(set(self.fill({}, "-").values()), {"-"})

    def test_is_one_line(self) -> None:
        self.assertNotIn("\n", self.format)

    def test_a_format_with_a_users_text_would_not_pass(self) -> None:
        for variable in ("path", "identity.userAgent", "error.message", "authorizer.subject"):
            self.format = f'{{"value":"$context.{variable}","status":"$context.status"}}'
            try:
                line = self.fill(SAFE, HOSTILE)
            except ValueError:
                continue
            self.assertNotEqual(line.get("status"), SAFE["status"], variable)


class Browsers(unittest.TestCase):
    """Requests from web pages of other origins."""

    def test_are_not_allowed_unless_origins_are_named(self) -> None:
        plain = Resolved()
        self.assertNotIn("CorsConfiguration", plain.resource("HttpApi"))

    def test_are_allowed_for_the_origins_that_are_named(self) -> None:
        cors = Resolved(CorsAllowedOrigins=CORS).resource("HttpApi")["CorsConfiguration"]
        self.assertEqual(cors["AllowOrigins"], CORS.split(","))
        self.assertNotIn("AllowCredentials", cors)
        self.assertLessEqual(
            {"authorization", "content-type", "idempotency-key", "if-match"}, set(cors["AllowHeaders"])
        )
        self.assertLessEqual({"etag", "location", "retry-after", "idempotent-replayed"}, set(cors["ExposeHeaders"]))
        self.assertEqual({"GET", "POST", "PUT", "PATCH", "DELETE"}, set(cors["AllowMethods"]))

    def test_a_preflight_request_needs_no_token(self) -> None:
        """A route for any method also matches preflight requests; a route for OPTIONS comes before it."""
        routes = {
            route["RouteKey"]: route
            for route in Resolved(CorsAllowedOrigins=CORS).resources("AWS::ApiGatewayV2::Route").values()
        }
        asking = [
            key
            for key, route in routes.items()
            if key.startswith("ANY ") and route.get("AuthorizationType", "NONE") != "NONE"
        ]
        self.assertTrue(asking)
        for key in asking:
            preflight = routes[key.replace("ANY ", "OPTIONS ")]
            self.assertEqual(preflight["AuthorizationType"], "NONE")
            self.assertNotIn("AuthorizerId", preflight)

    def test_origins_are_named_one_by_one(self) -> None:
        pattern = re.compile(TEMPLATE["Parameters"]["CorsAllowedOrigins"]["AllowedPattern"])
        for good in ("", CORS, "https://a.example:8443"):
            self.assertTrue(pattern.fullmatch(good), good)
        for bad in (
            "*",
            "https://*.example.com",
            "https://a.example/",
            "https://a.example, https://b.example",
            "a.example",
            "null",
        ):
            self.assertFalse(pattern.fullmatch(bad), bad)

    def test_portal_origins_are_named_one_by_one(self) -> None:
        pattern = re.compile(TEMPLATE["Parameters"]["PortalOrigins"]["AllowedPattern"])
        for good in ("", "https://app.example.com", "https://a.example:8443,http://localhost:5173,http://127.0.0.1:1"):
            self.assertTrue(pattern.fullmatch(good), good)
        for bad in (
            "*",
            "https://*.example.com",
            "https://a.example/",
            "https://a.example, https://b.example",
            "http://a.example",
            "http://localhost.a.example",
            "https://a.example;script-src",
            "'self'",
        ):
            self.assertFalse(pattern.fullmatch(bad), bad)
        variables = Resolved(PortalOrigins="https://a.example").resource("ApiFunction")["Environment"]["Variables"]
        self.assertEqual(variables["PORTAL_ORIGINS"], "https://a.example")


class Throttles(unittest.TestCase):
    """The throttles of API Gateway, route by route."""

    def test_each_route_without_a_token_has_one_of_its_own(self) -> None:
        for parameters in ({}, {"CorsAllowedOrigins": CORS}):
            resolved = Resolved(**parameters)
            routes = resolved.resources("AWS::ApiGatewayV2::Route").values()
            public = {route["RouteKey"] for route in routes if "AuthorizerId" not in route}
            stage = resolved.resource("HttpStage")
            self.assertEqual(set(stage["RouteSettings"]), public)
            for route, settings in stage["RouteSettings"].items():
                for limit in ("ThrottlingRateLimit", "ThrottlingBurstLimit"):
                    self.assertLess(int(settings[limit]), int(stage["DefaultRouteSettings"][limit]), route)

    def test_routes_are_there_before_their_settings(self) -> None:
        """API Gateway refuses a stage with settings for an unknown route."""
        stage, routes = TEMPLATE["Resources"]["HttpStage"], self.routes()
        keys = {name: routes[name]["Properties"]["RouteKey"] for name in stage["DependsOn"]}
        self.assertEqual(set(keys.values()), set(stage["Properties"]["RouteSettings"]))

    def test_a_route_with_settings_is_in_every_variant_of_the_template(self) -> None:
        """An update that removes a route leaves its settings in the stage, and API Gateway refuses each later one."""
        settings = TEMPLATE["Resources"]["HttpStage"]["Properties"]["RouteSettings"]
        conditional = [route["Properties"]["RouteKey"] for route in self.routes().values() if "Condition" in route]
        self.assertEqual(set(settings) & set(conditional), set())
        for key, values in settings.items():
            self.assertEqual(
                set(values), {"ThrottlingRateLimit", "ThrottlingBurstLimit"}, f"{key} depends on a condition"
            )

    def routes(self) -> dict[str, dict]:
        return {
            name: each for name, each in TEMPLATE["Resources"].items() if each["Type"] == "AWS::ApiGatewayV2::Route"
        }

    def test_one_tenant_leaves_room_for_others(self) -> None:
        defaults = {name: parameter.get("Default") for name, parameter in TEMPLATE["Parameters"].items()}
        self.assertGreaterEqual(defaults["ApiRateLimit"], 10 * defaults["TenantRateLimit"])
        self.assertGreaterEqual(defaults["ApiBurstLimit"], 2 * defaults["ApiRateLimit"])


class Concurrency(unittest.TestCase):
    """Reserved executions."""

    def test_is_reserved_only_where_a_number_is_given(self) -> None:
        for function in ("Api", "Authorizer"):
            self.assertNotIn("ReservedConcurrentExecutions", Resolved().resource(f"{function}Function"))
            reserved = Resolved(**{f"{function}ReservedConcurrency": "20"}).resource(f"{function}Function")
            self.assertEqual(reserved["ReservedConcurrentExecutions"], "20")


if __name__ == "__main__":
    unittest.main()
