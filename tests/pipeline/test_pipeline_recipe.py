import pytest
import yaml
from pydantic import BaseModel

from napari_marrow.errors import PathMissingError, RecipeError
from napari_marrow.pipeline import Recipe, dump_recipe, load_recipe, parse_recipe


def test_written_recipe_reads_back_equal(tmp_path):
    recipe = parse_recipe({"seed": 7, "segment": {"diameter_um": 12.5}, "niche": {"vessel_radii_um": [2, 9]}})
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert load_recipe(path).digest == recipe.digest != Recipe().digest


def test_every_field_has_a_meaning_and_lengths_have_units():
    text = dump_recipe(Recipe())
    for section in (s for s in vars(Recipe()).values() if isinstance(s, BaseModel)):
        for name, field in type(section).model_fields.items():
            assert field.description, name
            assert field.description in text
            if name.endswith(("_um", "_um2", "_h", "_deg")):
                assert field.json_schema_extra["unit"], name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"segment": {"chanel": "x"}}, ["unknown key 'segment.chanel'", "did you mean 'channel'"]),
        ({"segmentation": {}}, ["unknown key 'segmentation'", "did you mean 'segment'"]),
        ({"segment": {"flow_threshold": -1}}, ["'segment.flow_threshold' is -1", "greater than or equal to 0"]),
        ({"niche": {"n_simulations": 3}}, ["'niche.n_simulations' is 3"]),
        ({"seed": "many"}, ["'seed' is 'many'"]),
        (["a", "list"], ["list, not a mapping"]),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_key_and_the_value(content, words):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(content)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.exit_code == 2


def test_yaml_with_tags_is_data_not_code(tmp_path):
    path = tmp_path / "recipe.yaml"
    mark = tmp_path / "ran"
    path.write_text(f"seed: !!python/object/apply:os.mkdir ['{mark}']", encoding="utf-8")
    with pytest.raises(RecipeError, match="no plain YAML"):
        load_recipe(path)
    assert not mark.exists()


def test_a_missing_recipe_names_the_command_that_writes_one(tmp_path):
    with pytest.raises(PathMissingError, match="marrow recipe --out"):
        load_recipe(tmp_path / "none.yaml")


def test_an_empty_recipe_is_every_default(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert load_recipe(path) == Recipe()
    assert yaml.safe_load(dump_recipe(Recipe()))["segment"]["model"] == "marrow-nuclei"
