"""template.yaml as the tests read it, before any transform."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]
WSDL = ROOT / "layers" / "timbres" / "timbres" / "pacs" / "solucion_factible" / "utilerias.wsdl"
REGION = "mx-central-1"
AWS_ACCOUNT = "111122223333"
STACK_NAME = "timbres-test"


@dataclass(frozen=True)
class Trigger:
    """An event source of a function; ``label`` is its folder and the name of the event."""

    function: str
    name: str
    kind: str
    properties: dict[str, Any]

    @property
    def label(self) -> str:
        """The folder and the name of the event, for example ``run/Daily``."""
        return f"{self.function}/{self.name}"


class Template:
    """The text of template.yaml."""

    def __init__(self) -> None:
        self.text = yaml_parse((ROOT / "template.yaml").read_text())
        self.resources: dict[str, dict[str, Any]] = self.text["Resources"]
        self.parameters = {
            name: value.get("Default") for name, value in self.text["Parameters"].items()
        }

    def triggers(self) -> list[Trigger]:
        """Return every trigger of every function."""
        return [
            Trigger(_folder(properties), name, event["Type"], event.get("Properties", {}))
            for properties in of_type("AWS::Serverless::Function", self.resources).values()
            for name, event in properties.get("Events", {}).items()
        ]

    def environment(self, folder: str, resolve: Callable[[Any], str]) -> dict[str, str]:
        """Return the environment variables of a function."""
        shared = self.text["Globals"]["Function"]["Environment"]["Variables"]
        own = self._function(folder).get("Environment", {}).get("Variables", {})
        return {name: resolve(value) for name, value in (shared | own).items()}

    def timeout(self, folder: str) -> float:
        """Return the timeout of a function in seconds."""
        default = self.text["Globals"]["Function"]["Timeout"]
        return float(self._function(folder).get("Timeout", default))

    def environment_names(self) -> frozenset[str]:
        """Return the names of the environment variables of all functions."""
        functions = of_type("AWS::Serverless::Function", self.resources).values()
        return frozenset(
            name
            for function in (self.text["Globals"]["Function"], *functions)
            for name in function.get("Environment", {}).get("Variables", {})
        )

    def _function(self, folder: str) -> dict[str, Any]:
        functions = of_type("AWS::Serverless::Function", self.resources).values()
        (found,) = (properties for properties in functions if _folder(properties) == folder)
        return found


def _folder(properties: dict[str, Any]) -> str:
    return str(properties["CodeUri"]).rstrip("/").rpartition("/")[2]


@cache
def template() -> Template:
    """Return the template, parsed once."""
    return Template()


def of_type(kind: str, resources: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Return the properties of each resource of a type, by logical ID."""
    return {
        name: resource.get("Properties", {})
        for name, resource in (resources or template().resources).items()
        if resource["Type"] == kind
    }


@cache
def transformed() -> dict[str, dict[str, Any]]:
    """Return the resources after SAM's transform."""
    from tools.transform import transform_template

    resources: dict[str, dict[str, Any]] = transform_template()["Resources"]
    return resources


def names_in(value: Any) -> set[str]:
    """Return the logical IDs that a value of the template refers to."""
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    if not isinstance(value, dict):
        return set()
    if "Ref" in value:
        return {value["Ref"]}
    if "Fn::GetAtt" in value:
        attribute = value["Fn::GetAtt"]
        return {attribute[0] if isinstance(attribute, list) else attribute.partition(".")[0]}
    if "Fn::Sub" in value:
        return set(re.findall(r"\$\{(\w+)", str(value["Fn::Sub"])))
    return set().union(*map(names_in, value.values()))


def statements_of(role: str) -> list[dict[str, Any]]:
    """Return the statements of a role's policies."""
    policies = template().resources[role]["Properties"]["Policies"]
    return [one for policy in policies for one in policy["PolicyDocument"]["Statement"]]


def routes(method: str, path: str) -> Iterator[tuple[Trigger, dict[str, str]]]:
    """Yield the triggers whose route matches a path, each with the path parameters."""
    for trigger in template().triggers():
        own = trigger.properties
        if trigger.kind == "Api" and own["RestApiId"] == {"Ref": "Api"}:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", own["Path"])
            match = re.fullmatch(pattern.replace("{proxy+}", "(?P<proxy>.+)"), path)
            if match and own["Method"] in (method, "ANY"):
                yield trigger, match.groupdict()


def route(method: str, path: str) -> tuple[Trigger, dict[str, str]]:
    """Return the trigger that API Gateway selects for a path, and the path parameters."""
    # The route of all others is the last choice.
    return min(routes(method, path), key=lambda item: item[0].properties["Method"] == "ANY")
