"""infra/template.yaml as a template that takes the functions' code from S3.

It is plain CloudFormation: the serverless resources are expanded here, by the library that CloudFormation's own
transform runs, so that every tool and account may deploy it and what was verified is what is deployed. Parameters stay
parameters. Resources keep their logical ids, so a stack can be updated from either template to the other."""

from __future__ import annotations

import copy
from pathlib import Path

import boto3
from build import functions
from common import REGION
from samcli.yamlhelper import yaml_dump, yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.utils.py27hash_fix import to_py27_compatible_template, undo_mark_unicode_str_in_template

PARAMETERS = {
    "CodeBucket": {
        "Type": "String",
        "AllowedPattern": "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "Description": "Bucket with the functions' code, in the stack's region",
    },
    "CodePrefix": {
        "Type": "String",
        "Default": "",
        "AllowedPattern": "(.*/)?",
        "Description": "Where the package's folder is in the bucket, with a slash at the end. If empty, at the top",
    },
}


def write_template(source: Path, folder: str, file: Path) -> None:
    """Writes the template of a package whose folder in S3 has this name."""
    file.write_text(yaml_dump(packaged(yaml_parse(source.read_text()), folder)))


def packaged(template: dict, folder: str) -> dict:
    """Returns the template of a package. Its folder is in the keys, and no parameter, because CloudFormation updates a
    function whose key has changed, and an update keeps the values of parameters."""
    template = copy.deepcopy(template)
    for _, function in functions(template):
        binary = function.pop("Metadata")["BuildProperties"]["Binary"]
        key = f"${{CodePrefix}}{folder}/${{Architecture}}/{binary}.zip"
        function["Properties"]["CodeUri"] = {"Bucket": {"Ref": "CodeBucket"}, "Key": {"Fn::Sub": key}}
    del template["Globals"]["Function"]["CodeUri"]
    template["Parameters"] = {**PARAMETERS, **template["Parameters"]}
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    groups.insert(0, {"Label": {"default": "Where the code is"}, "Parameters": list(PARAMETERS)})
    # Each parameter has a reference to itself as its value, or the library would put defaults into the template.
    names = [*template["Parameters"], "AWS::Region", "AWS::Partition"]
    return expanded(template, {name: {"Ref": name} for name in names})


def expanded(template: dict, parameters: dict) -> dict:
    """Replaces serverless resources, as CloudFormation does for a stack with these parameters."""
    template = copy.deepcopy(template)
    to_py27_compatible_template(template, parameters)
    translator = Translator(None, Parser(), boto_session=boto3.Session(region_name=REGION))
    made = undo_mark_unicode_str_in_template(translator.translate(template, parameters))
    # Goes nowhere by default; without it, the library warns of metrics that are not published.
    translator.metrics.publish()
    return made
