"""infra/template.yaml as CloudFormation sees it: with parameters, conditions and functions resolved."""

from __future__ import annotations

import re
from pathlib import Path

from samcli.yamlhelper import yaml_parse

TEMPLATE = yaml_parse((Path(__file__).resolve().parents[1] / "template.yaml").read_text())
NOTHING = object()

# What CloudFormation knows by itself, and what has no default.
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
    """The template with these parameters; the others have their defaults."""

    def __init__(self, **parameters: str) -> None:
        defaults = {name: parameter["Default"] for name, parameter in TEMPLATE["Parameters"].items() if "Default" in parameter}
        # CloudFormation compares numbers as texts.
        self.values = {name: str(value) if isinstance(value, int) else value for name, value in {**defaults, **GIVEN, **parameters}.items()}

    def resource(self, name: str) -> dict | None:
        """Returns a resource's properties, or nothing if a condition leaves it out."""
        resource = TEMPLATE["Resources"][name]
        if "Condition" in resource and not self.condition(resource["Condition"]):
            return None
        return self.resolve(resource["Properties"])

    def resources(self, kind: str) -> dict[str, dict]:
        """Returns the properties of all resources of a type."""
        names = [name for name, resource in TEMPLATE["Resources"].items() if resource["Type"] == kind]
        return {name: properties for name in names if (properties := self.resource(name)) is not None}

    def condition(self, name: str) -> bool:
        """Says whether a condition holds."""
        return self.resolve(TEMPLATE["Conditions"][name])

    def violated(self) -> list[str]:
        """Returns what the rules say against the parameters."""
        said = []
        for rule in TEMPLATE["Rules"].values():
            if self.resolve(rule.get("RuleCondition", True)):
                said += [one["AssertDescription"] for one in rule["Assertions"] if not self.resolve(one["Assert"])]
        return said

    def resolve(self, value):
        """Resolves the functions of CloudFormation in a value. What is known only after a deployment is named in angle brackets."""
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not NOTHING]
        if not isinstance(value, dict):
            return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        function = next(iter(value), "")
        if len(value) == 1 and (function == "Ref" or function.startswith("Fn::") or (function == "Condition" and isinstance(value[function], str))):
            return self.call(function, value[function])
        resolved = {name: self.resolve(one) for name, one in value.items()}
        return {name: one for name, one in resolved.items() if one is not NOTHING}

    def call(self, function: str, argument):
        """Resolves one function."""
        if function == "Ref":
            return self.values.get(argument, f"<{argument}>")
        if function == "Condition":
            return self.condition(argument)
        if function == "Fn::If":
            return self.resolve(argument[1] if self.condition(argument[0]) else argument[2])
        if function == "Fn::GetAtt":
            return f"<{'.'.join(argument)}>"
        if function == "Fn::Sub":
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(self.values.get(found[1], f"<{found[1]}>")), argument)
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
        raise ValueError(f"the template uses {function}, which is not resolved here")
