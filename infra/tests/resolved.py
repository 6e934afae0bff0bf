"""infra/template.yaml with parameters, conditions and functions resolved as in CloudFormation."""

from __future__ import annotations

import re
from pathlib import Path

from samcli.yamlhelper import yaml_parse

TEMPLATE = yaml_parse((Path(__file__).resolve().parents[1] / "template.yaml").read_text())
NOTHING = object()

# Pseudo parameters, and values for parameters without a default.
GIVEN = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::StackName": "dynahook",
    "AWS::NoValue": NOTHING,
    "JwtIssuer": "https://issuer.example.com",
    "JwtAudience": "dynahook",
    "JwksUrl": "https://issuer.example.com/jwks.json",
}


class Resolved:
    """The template with these parameters, and defaults for the others."""

    def __init__(self, **parameters: str) -> None:
        declared = TEMPLATE["Parameters"].items()
        defaults = {name: parameter["Default"] for name, parameter in declared if "Default" in parameter}
        # CloudFormation compares numbers as strings.
        values = {**defaults, **GIVEN, **parameters}
        self.values = {name: str(value) if isinstance(value, int) else value for name, value in values.items()}

    def resource(self, name: str) -> dict | None:
        """Returns a resource's properties, or nothing if a condition excludes it."""
        resource = TEMPLATE["Resources"][name]
        if "Condition" in resource and not self.condition(resource["Condition"]):
            return None
        return self.resolve(resource["Properties"])

    def resources(self, kind: str) -> dict[str, dict]:
        """Returns the properties of all resources of a type."""
        names = [name for name, resource in TEMPLATE["Resources"].items() if resource["Type"] == kind]
        return {name: properties for name in names if (properties := self.resource(name)) is not None}

    def condition(self, name: str) -> bool:
        """Returns whether a condition holds."""
        return self.resolve(TEMPLATE["Conditions"][name])

    def violated(self) -> list[str]:
        """Returns the descriptions of violated rules."""
        said = []
        for rule in TEMPLATE["Rules"].values():
            if self.resolve(rule.get("RuleCondition", True)):
                said += [one["AssertDescription"] for one in rule["Assertions"] if not self.resolve(one["Assert"])]
        return said

    def resolve(self, value):
        """Resolves the functions of CloudFormation in a value. Values that only a deployment knows become names in
        angle brackets."""
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not NOTHING]
        if not isinstance(value, dict):
            return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        function = next(iter(value), "")
        # `Condition` is a function if its value is a name, and part of a policy if it is an object.
        names_condition = function == "Condition" and isinstance(value[function], str)
        if len(value) == 1 and (function == "Ref" or function.startswith("Fn::") or names_condition):
            return self.call(function, value[function])
        resolved = {name: self.resolve(one) for name, one in value.items()}
        return {name: one for name, one in resolved.items() if one is not NOTHING}

    def call(self, function: str, argument):
        """Resolves one function."""
        if function == "Ref":
            value = self.values.get(argument, f"<{argument}>")
            is_list = TEMPLATE["Parameters"].get(argument, {}).get("Type") == "CommaDelimitedList"
            return [one.strip() for one in value.split(",")] if is_list else value
        if function == "Condition":
            return self.condition(argument)
        if function == "Fn::If":
            return self.resolve(argument[1] if self.condition(argument[0]) else argument[2])
        if function == "Fn::GetAtt":
            return f"<{'.'.join(argument)}>"
        if function == "Fn::Sub":
            text, more = argument if isinstance(argument, list) else (argument, {})
            known = {**self.values, **{name: self.resolve(one) for name, one in more.items()}}
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(known.get(found[1], f"<{found[1]}>")), text)
        if function == "Fn::Join":
            return argument[0].join(self.resolve(argument[1]))
        if function == "Fn::Split":
            return self.resolve(argument[1]).split(argument[0])
        arguments = [self.resolve(one) for one in argument]
        match function:
            case "Fn::Equals":
                return arguments[0] == arguments[1]
            case "Fn::Not":
                return not arguments[0]
            case "Fn::And":
                return all(arguments)
            case "Fn::Or":
                return any(arguments)
        raise ValueError(f"this file cannot resolve {function}, which the template uses")
