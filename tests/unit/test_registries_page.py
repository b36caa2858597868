"""registries.md in both languages: every block is read without a mistake, and each recipe has the accounts that it needs."""

import json
import re
from pathlib import Path

import pytest
from support import BUNDLE

from imageporter.config.accounts_file import load_accounts
from imageporter.config.images_file import load_images
from imageporter.config.settings import misspelt_variables
from imageporter.hook import webhooks
from imageporter.model.account import Accounts
from imageporter.model.image import Image
from imageporter.model.reference import parse
from imageporter.model.rule import Rule
from imageporter.registry.ca_bundle import ca_certificates
from imageporter.registry.challenge import falls_back_to_http
from imageporter.registry.proxies import proxy_for
from imageporter.system.errors import Problems

ENGLISH, CHINESE = (BUNDLE / "docs" / folder / "registries.md" for folder in (".", "zh"))
RECIPES = 15
PUBLIC = {"docker.io", "quay.io", "public.ecr.aws"}  # sources that need no account
BLOCK = re.compile(r"<!-- (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
VARIABLE = re.compile(r"(?<!\$)\$\{?([A-Z_]+)")


def sections(page: Path) -> list[str]:
    """The text below each heading of the second level."""
    return re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


def recipes(page: Path) -> list[str]:
    """The sections that are recipes: those with an images file."""
    return [section for section in sections(page) if "<!-- images.yaml -->" in section]


def without_comments(block: str) -> str:
    return re.sub(r"(?m)^#(?!!).*\n| +#.*$", "", block)


def read_accounts(folder: Path, name: str, block: str) -> Accounts:
    """Read an accounts file with a value for each variable that it names; without a mistake."""
    environ = dict.fromkeys(VARIABLE.findall(block), "value")
    assert misspelt_variables(environ) == {}
    (folder / name).write_text(block)
    problems = Problems()
    accounts = load_accounts(folder / name, problems, environ)
    assert list(problems) == []
    return accounts


def read_rules(folder: Path, block: str) -> tuple[Rule, ...]:
    """Read an images file; without a mistake."""
    (folder / "images.yaml").write_text(block)
    problems = Problems()
    rules = load_images(folder / "images.yaml", problems)
    assert list(problems) == []
    return rules


def images(rule: Rule) -> list[Image]:
    """The images of a rule; of one that lists tags, the image of one tag."""
    return list(rule.images(("1.0.0",)) if rule.needs_listing else rule.images())


def files(section: str) -> list[tuple[str, str]]:
    """The accounts and images files of a recipe, in pairs."""
    found = [(name, block) for name, block in BLOCK.findall(section) if name.startswith(("accounts.", "images."))]
    names = [name for name, _ in found]
    assert names == ["accounts.yaml", "images.yaml"] * (len(names) // 2)
    return [(accounts, rules) for (_, accounts), (_, rules) in zip(found[::2], found[1::2], strict=True)]


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_every_recipe_is_read_and_has_its_accounts(page: Path, tmp_path: Path) -> None:
    assert len(recipes(page)) == RECIPES
    for section in recipes(page):
        for accounts_block, images_block in files(section):
            accounts = read_accounts(tmp_path, "accounts.yaml", accounts_block)
            used = set()
            for image in (image for rule in read_rules(tmp_path, images_block) for image in images(rule)):
                source, target = accounts.find(image.source), accounts.find(image.target)
                assert source or image.source.host in PUBLIC, image
                assert target or falls_back_to_http(image.target.host), image
                used |= {account.prefix for account in (source, target) if account}
            assert used == {account.prefix for account in accounts}


def test_both_languages_have_the_same_recipes_and_blocks() -> None:
    english, chinese = (
        [[(name, without_comments(block)) for name, block in BLOCK.findall(section)] for section in sections(page)]
        for page in (ENGLISH, CHINESE)
    )
    assert english == chinese


def test_every_block_is_marked() -> None:
    for page in (ENGLISH, CHINESE):
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"^```\w+$", text, re.MULTILINE)) == len(BLOCK.findall(text))


def test_every_recipe_is_in_the_list_at_the_top() -> None:
    for page in (ENGLISH, CHINESE):
        text = page.read_text(encoding="utf-8")
        listed = re.findall(r"\]\(#([^)]+)\)", text.partition("\n## ")[0])
        titles = [section.partition("\n")[0] for section in recipes(page)]
        assert listed == [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_both_forms_of_the_accounts_file_mean_the_same(tmp_path: Path) -> None:
    (as_list, as_map) = BLOCK.findall(sections(ENGLISH)[0])[:2]
    assert [as_list[0], as_map[0]] == ["accounts.json", "accounts.yaml"]
    assert len(json.loads(as_list[1])) == 3
    accounts = [read_accounts(tmp_path, *one) for one in (as_list, as_map)]
    assert dict(accounts[0].by_prefix) == dict(accounts[1].by_prefix)
    named = {name: accounts[0].find(parse(name)) for name in ("quay.io/coreos/etcd", "quay.io/coreos-assembler/fcos")}
    assert [account.prefix if account else None for account in named.values()] == ["quay.io/coreos", None]


@pytest.mark.parametrize(
    ("title", "username"), [("Harbor", "robot$mirror+imageporter"), ("Tencent TCR, E", "tcr$imageporter")]
)
def test_the_dollar_sign_of_a_username(title: str, username: str, tmp_path: Path) -> None:
    (section,) = [section for section in recipes(ENGLISH) if section.startswith(title)]
    (account,) = read_accounts(tmp_path, "accounts.yaml", files(section)[0][0])
    assert account.username == username
    # from a variable, it is taken as it is
    (tmp_path / "from.yaml").write_text("example.com: {username: $WHO, password: $WORD}")
    (account,) = load_accounts(tmp_path / "from.yaml", problems := Problems(), {"WHO": username, "WORD": "pa$$word"})
    assert (account.username, account.password, list(problems)) == (username, "pa$$word", [])


def test_flatten_gives_the_name_in_the_comment(tmp_path: Path) -> None:
    (section,) = [section for section in recipes(ENGLISH) if section.startswith("Docker Hub")]
    block = files(section)[0][1]
    (image,) = images(read_rules(tmp_path, block)[0])
    assert f"# becomes {image.target}" in block


def test_what_the_page_says_of_certificates_and_proxies(tmp_path: Path) -> None:
    authority = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (tmp_path / "ca.pem").write_bytes(authority)
    own, certificates = tmp_path / "certs", ca_certificates({"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    assert authority in certificates
    if list(Path("/etc/ssl/certs").glob("*.pem")):
        own.mkdir()
        alone = ca_certificates({"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSL_CERT_DIR": str(own)})
        assert len(certificates) > len(alone)
    assert [falls_back_to_http(host) for host in ("192.168.1.10:5000", "nas.example.com:5000")] == [True, False]
    (no_proxy,) = set(re.findall(r"`NO_PROXY=(\S+)`", ENGLISH.read_text()))
    environ = {"HTTPS_PROXY": "http://proxy.example.com:3128", "NO_PROXY": no_proxy}
    hosts = ("ghcr.io", "nas.example.com:5000", "192.168.1.10:5000", "127.0.0.1:5000", "10.0.0.1")
    assert [bool(proxy_for("https", host, environ)) for host in hosts] == [True, False, False, False, True]


def test_the_event_of_tencents_enterprise_edition_is_one_of_harbor() -> None:
    """As https://cloud.tencent.com/document/product/1141/44369 documents it."""
    event = {
        "type": "pushImage",
        "occur_at": 1589106605,
        "event_data": {
            "resources": [{"digest": f"sha256:{0:064}", "tag": "v1", "resource_url": "x.tencentcloudcr.com/public/nginx:v1"}],
            "repository": {"name": "nginx", "namespace": "public", "repo_full_name": "public/nginx", "repo_type": "public"},
        },
        "operator": "332133xxxx",
    }
    assert list(webhooks.harbor(event, {})) == [("x.tencentcloudcr.com", "public/nginx", "v1")]


def test_the_event_of_aliyun_names_the_host_of_the_region() -> None:
    event = json.loads((BUNDLE / "tests" / "payloads" / "acr.json").read_text())
    ((host, _, _),) = webhooks.acr(event, {})
    assert re.fullmatch(r"registry\.[a-z0-9-]+\.aliyuncs\.com", host or "")
