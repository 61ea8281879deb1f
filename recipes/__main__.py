"""`python -m recipes [NAME...]`: list the recipes, or fit some of them."""

from __future__ import annotations

import sys
from pathlib import Path

from recipes import all_recipes, find_data, fit, written_recipes


def main(names: list[str]) -> int:
    recipes = {**all_recipes(), **written_recipes()}
    if not names:
        for recipe in recipes.values():
            print(f"{recipe.name:22} {' + '.join(recipe.used)} -> {recipe.label}, {recipe.minutes:g} minutes")
        return 0
    unknown = [name for name in names if name not in recipes]
    if unknown:
        print(f"there is no recipe {', '.join(unknown)}; known: {', '.join(recipes)}", file=sys.stderr)
        return 2
    data = find_data()
    if data is None:
        return 0
    for name in names:
        model = fit(recipes[name], data, Path("runs/recipes") / name)
        print(name, model.metrics["targets"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
