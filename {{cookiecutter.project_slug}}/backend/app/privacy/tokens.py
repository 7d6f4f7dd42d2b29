"""Tokens: the public prefixes and shapes by which services mark the secrets that they issue."""

import re
from typing import Final

_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"

PREFIXED: Final = (
    ("Adyen", "AQE", r"[\w+/=.-]{60,}"),
    ("E2B", "e2b_", r"[0-9a-f]{32,}"),
    ("Facebook", "EAA", r"[A-Za-z0-9]{60,}"),
    ("Firecrawl", "fc-", r"[0-9a-f]{32}(?!\w)"),
    ("Inngest", "signkey-prod- signkey-test- signkey-branch-", r"[0-9a-f]{32,}"),
    ("LinkedIn", "WPL_AP0. WPL_AP1.", r"[\w.=+/-]{16,}"),
    ("WakaTime", "waka_", r"[0-9a-z-]{32,}"),
    ("Akamai", "akab-", r"[\w-]{24,}"),
    ("Apify", "apify_api_", r"[A-Za-z0-9-]{24,}"),
    ("Asaas", "aact_prod_ aact_hmlg_", r"[\w:-]{24,}"),
    ("Astra DB", "AstraCS:", r"[\w:]{24,}"),
    ("Atlassian", "ATAT", r"[\w=-]{40,}"),
    ("Brave Search", "BSA", r"(?=\w*[a-z])(?=\w*\d)[\w-]{27,}"),
    ("Google", "AQ.Ab", r"[\w-]{24,}"),
    ("Heartland", "skapi_cert_ skapi_prod_", r"\w{20,}"),
    ("keys in DER", "MIIB MIIC MIIE MIIJ MIGH MHcC MC4C", r"[A-Za-z0-9+/]{60,}=*"),
    ("MailerSend", "mlsn.", r"\w{24,}"),
    ("Midtrans", "Mid-server- Mid-client- SB-Mid-server-", r"[\w-]{12,}"),
    ("Persona", "persona_production_ persona_sandbox_", r"[\w-]{16,}"),
    ("Plivo", "api_live. api_live_ca. api_live_us. api_test.", r"[\w-]{20,}"),
    ("1Password", "ops_eyJ", r"[\w-]{32,}"),
    ("Cal.com", "cal_ cal_live_", r"[0-9a-f]{24,}"),
    ("Cerebras", "csk-", r"[a-z0-9]{32,}"),
    ("crates.io", "cio", r"[A-Za-z0-9]{32}(?!\w)"),
    ("ElevenLabs", "sk_", r"[0-9a-f]{40,}"),
    ("Gitea", "gta_", r"[0-9a-f]{32,}"),
    ("Honeycomb", "hcaik_ hcalk_ hcamk_ hcxik_", r"\w{24,}"),
    ("Instagram", "IGQV IGAA IGQW", r"[\w-]{32,}"),
    ("Mercado Pago", "APP_USR- TEST-", r"\d{12,20}-\d{6}-[0-9a-f]{32}[\w-]*"),
    (
        "PASETO",
        "v1.local. v2.local. v3.local. v4.local. v1.public. v2.public. v3.public. v4.public.",
        r"[\w-]{32,}[\w.-]*",
    ),
    ("Razorpay", "rzp_live_ rzp_test_", r"[A-Za-z0-9]{14,}"),
    ("Sourcegraph", "sgp_ slk_", r"(?:[0-9a-f]{16}_|local_)?[0-9a-f]{40,}"),
    ("Stytch", "secret-live- secret-test- public-token-live- public-token-test-", r"[\w=-]{24,}"),
    ("Unkey", "unkey_", r"[A-Za-z0-9]{16,}"),
    ("Yandex", "y0_Ag y1_Ag y2_Ag y3_Ag", r"[\w-]{24,}"),
    ("YouTrack", "perm:", r"[\w=]{4,}\.[\w=]{4,}\.[\w=]{16,}"),
    ("1Password", "A3-", r"[A-Z0-9-]{26,}"),
    ("Adafruit", "aio_", r"[A-Za-z0-9]{24,}"),
    ("Adobe", "p8e-", r"[A-Za-z0-9]{24,}"),
    ("age", "AGE-SECRET-KEY-1", r"[A-Z0-9]{32,}"),
    ("age", "age-secret", r"[\w-]{12,}"),
    ("Airtable", "pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{32,}"),
    ("Aiven", "AVNS_", r"[\w-]{16,}"),
    ("Alibaba Cloud", "LTAI", r"[A-Za-z0-9]{12,}"),
    ("Amazon Bedrock", "bedrock-api-key-", r"[\w-]{16,}"),
    ("Amazon MWS", "amzn.mws.", _UUID),
    (
        "Amazon Web Services",
        "AKIA ASIA ABIA ACCA AIDA AROA AGPA AIPA ANPA ANVA APKA ASCA A3T",
        r"[A-Z0-9]{12,}",
    ),
    ("Anthropic", "sk-ant-", r"[\w-]{16,}"),
    ("Artifactory", "AKC", r"[A-Za-z0-9]{10,}"),
    ("Artifactory", "cmVmd", r"[A-Za-z0-9]{40,}"),
    ("Bitcoin", "xprv yprv zprv tprv", r"[0-9A-Za-z]{80,}"),
    ("Asana", "0/ 1/ 2/", r"\d{13,20}:[0-9a-f]{32,}"),
    ("Atlassian", "ATATT3 ATCTT3 ATBB ATOA", r"[\w=-]{20,}"),
    ("Bitbucket", "BBDC-", r"[A-Za-z0-9+/@_-]{36,}"),
    ("Brevo", "xkeysib- xsmtpsib-", r"[A-Za-z0-9-]{32,}"),
    ("Buildkite", "bkua_", r"[A-Za-z0-9]{32,}"),
    ("CircleCI", "CCIPAT_ CCIPRJ_", r"[\w-]{20,}"),
    ("ClickHouse", "4b1d", r"[A-Za-z0-9]{38}(?!\w)"),
    ("Clojars", "CLOJARS_", r"[A-Za-z0-9]{32,}"),
    ("Cloudflare", "v1.0-", r"[0-9a-f]{24}-[0-9a-f]{100,}"),
    ("Cloudflare", "cfut_ cfat_ cfk_", r"[\w-]{32,}"),
    ("Cloudsmith", "cloudsmith_", r"[\w-]{16,}"),
    ("Contentful", "CFPAT-", r"[\w-]{32,}"),
    ("Databricks", "dapi dkea", r"[0-9a-f]{30,}(?:-\d)?"),
    ("Datadog", "ddp_ ddr_", r"[A-Za-z0-9]{30,}"),
    ("Defined Networking", "dnkey-", r"[a-z0-9=_-]{26,}"),
    ("DigitalOcean", "doo_v1_ dop_v1_ dor_v1_ dot_v1_", r"[0-9a-f]{32,}"),
    ("DigitalOcean", "dckr-do_", r"[\w-]{16,}"),
    ("Discord", "M N O", r"[\w-]{22,27}\.[\w-]{6,7}\.[\w-]{25,}"),
    ("Discord", "mfa.", r"[\w-]{60,}"),
    ("Docker", "dckr_pat_ dckr_oat_", r"[\w-]{20,}"),
    ("Docker", "SWMTKN-1-", r"[a-z0-9-]{40,}"),
    (
        "Doppler",
        "dp.pt. dp.st. dp.ct. dp.sa. dp.said. dp.scim. dp.scrt. dp.audit."
        " dp.st.dev. dp.st.stg. dp.st.prd.",
        r"[\w.-]{20,}",
    ),
    ("Dropbox", "sl. sl.u.", r"[\w-]{40,}"),
    ("Duffel", "duffel_test_ duffel_live_", r"[\w=-]{20,}"),
    ("Dynatrace", "dt0c01. dt0s01. dt0s02. dt0s16. dt0e01. dt0a01.", r"[\w.-]{20,}"),
    ("EasyPost", "EZAK EZTK", r"[A-Za-z0-9]{30,}"),
    ("Error tracker", "sntrys_ sntryu_ sntrya_ sntryi_", r"[A-Za-z0-9+/=_-]{24,}"),
    ("Facebook", "EAAM EAAC EAACEdEose0cBA", r"[A-Za-z0-9]{20,}"),
    ("Figma", "figd_ figo_ figu_ figr_", r"[\w-]{20,}"),
    ("Flutterwave", "FLWSECK FLWPUBK FLWSECK_TEST FLWPUBK_TEST flwseck_ flwpubk_", r"[\w-]{12,}"),
    ("Fly.io", "fo1_ fm1_ fm2_ fm1a_ fm1r_ fm2a_", r"[A-Za-z0-9+/=_-]{32,}"),
    ("Frame.io", "fio-u-", r"[\w=-]{32,}"),
    ("GitHub", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{16,}"),
    ("GitHub", "github_pat_", r"\w{20,}"),
    (
        "GitLab",
        "glpat- gldt- glrt- glrtr- glcbt- glptt- glft- glimt- glagent- gloas- glsoat- glffct-"
        " glwt- GR1348941",
        r"[\w.-]{16,}",
    ),
    ("GoCardless", "live_ sandbox_", r"[A-Za-z0-9_=-]{36,}"),
    ("Google", "AIza GOCSPX-", r"[\w-]{20,}"),
    ("Google", "ya29.", r"[\w.-]{20,}"),
    ("Google", "1//0 4/0A", r"[\w-]{28,}"),
    ("Google", "6L", r"[\w-]{38}(?!\w)"),
    ("Google", "GOOG", r"[A-Z0-9]{20,}"),
    ("Grafana", "glsa_", r"\w{24,}"),
    ("Grafana", "glc_ eyJrIjoi", r"[A-Za-z0-9+/=]{20,}"),
    ("Groq", "gsk_", r"[A-Za-z0-9]{24,}"),
    ("Harness", "pat. sat.", r"[\w-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20,}"),
    ("HashiCorp Vault", "hvs. hvb. hvr.", r"[\w-]{20,}"),
    ("HashiCorp Vault", "s. b. r.", r"(?=[A-Za-z]{0,23}\d)[A-Za-z0-9]{24}(?![\w.])"),
    ("Heroku", "HRKU-", r"[\w-]{30,}"),
    ("HubSpot", "pat-na1- pat-na2- pat-eu1- pat-ap1-", _UUID),
    ("Hugging Face", "hf_ api_org_", r"[A-Za-z0-9]{20,}"),
    ("Infracost", "ico-", r"[A-Za-z0-9]{28,}"),
    ("Intra42", "s-s4t2ud- s-s4t2af-", r"[0-9a-f]{40,}"),
    ("JFrog", "eyJ2ZXIiOi", r"[\w.-]{40,}"),
    ("LangChain", "lsv2_pt_ lsv2_sk_ ls__", r"[0-9A-Fa-f_]{24,}"),
    ("LaunchDarkly", "sdk- mob- api-", _UUID),
    ("Linear", "lin_api_ lin_oauth_", r"[A-Za-z0-9]{24,}"),
    ("Lob", "live_ test_ live_pub_ test_pub_", r"[0-9a-f]{30,}"),
    ("Mailgun", "key- pubkey-", r"[0-9a-zA-Z]{30,}"),
    ("Mapbox", "sk.ey pk.ey", r"[\w.-]{40,}"),
    ("Mercury", "secret-token:", r"[\w.-]{16,}"),
    ("MongoDB Atlas", "mdb_sa_sk_ mdb_sa_id_", r"[\w-]{20,}"),
    ("Netlify", "nfp_ nfc_ nfo_ nfu_ nfb_", r"[A-Za-z0-9]{30,}"),
    (
        "New Relic",
        "NRAK- NRJS- NRII- NRIQ- NRRA- NRBR- NRSP- NRAA-",
        r"[\w-]{16,}",
    ),
    ("Notion", "ntn_ secret_", r"[A-Za-z0-9]{30,}"),
    ("Neon", "napi_", r"[a-z0-9]{32,}"),
    ("npm", "npm_", r"[A-Za-z0-9]{30,}"),
    ("NuGet", "oy2", r"[a-z0-9]{43}(?!\w)"),
    ("NVIDIA", "nvapi-", r"[\w-]{24,}"),
    ("Octopus Deploy", "API-", r"[A-Z0-9]{25,}"),
    ("Okta", "00", r"(?=\w*[A-Za-z])[\w-]{40}(?![\w-])"),
    ("OpenAI", "sk-proj- sk-svcacct- sk-admin- sk-or-v1- sk-lf-", r"[\w-]{16,}"),
    ("OpenAI", "sk-", r"(?:[A-Za-z0-9]{20,}|(?=[\w-]{0,39}\d)[\w-]{40,})"),
    ("OpenShift", "sha256~", r"[\w-]{32,}"),
    ("Perplexity", "pplx-", r"[A-Za-z0-9]{24,}"),
    ("Pinecone", "pcsk_", r"\w{30,}"),
    (
        "Plaid",
        "access-sandbox- access-development- access-production- link-sandbox- link-development-"
        " link-production- public-sandbox- public-development- public-production-",
        _UUID,
    ),
    ("PlanetScale", "pscale_tkn_ pscale_pw_ pscale_oauth_", r"[\w.=-]{24,}"),
    ("PostHog", "phx_ phc_", r"[A-Za-z0-9]{30,}"),
    ("Postman", "PMAK-", r"[0-9a-zA-Z-]{24,}"),
    ("Prefect", "pnu_ pnb_", r"[A-Za-z0-9]{30,}"),
    ("Pulumi", "pul-", r"[0-9a-f]{30,}"),
    ("PyPI", "pypi-", r"(?:AgE|\w{32})[\w-]{12,}"),
    ("ReadMe", "rdme_", r"[a-z0-9]{32,}"),
    ("Render", "rnd_", r"[A-Za-z0-9]{24,}"),
    ("Replicate", "r8_", r"[A-Za-z0-9]{30,}"),
    ("Resend", "re_", r"[A-Za-z0-9]{6,10}_[A-Za-z0-9]{16,}"),
    ("Rootly", "rootly_", r"[0-9a-f]{40,}"),
    ("RubyGems", "rubygems_", r"[0-9a-f]{32,}"),
    ("Scalingo", "tk-us-", r"[\w-]{32,}"),
    ("SendGrid", "SG.", r"[\w.=-]{16,}"),
    ("Settlemint", "sm_aat_ sm_pat_ sm_sat_", r"[A-Za-z0-9]{16,}"),
    ("Shippo", "shippo_live_ shippo_test_", r"[0-9a-f]{30,}"),
    ("Shopify", "shpat_ shpca_ shppa_ shpss_ shpua_ shptka_", r"[0-9a-zA-Z]{24,}"),
    (
        "Slack",
        "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs- xoxt- xoxe.xoxb- xoxe.xoxp- xapp-",
        r"[\w./%-]{10,}",
    ),
    ("SonarQube", "sqa_ sqp_ squ_", r"[0-9a-f]{30,}"),
    ("Square", "sq0atp- sq0csp- sq0idp- sq0idb-", r"[\w-]{20,}"),
    ("Square", "EAAA", r"[\w-]{40,}"),
    (
        "Stripe",
        "sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ rk_prod_ pk_live_ pk_test_ pk_prod_",
        r"[A-Za-z0-9]{10,}",
    ),
    ("Stripe", "whsec_", r"[A-Za-z0-9+/=]{20,}"),
    ("Supabase", "sbp_", r"[0-9a-f]{32,}"),
    ("Supabase", "sb_secret_ sb_publishable_", r"[\w-]{20,}"),
    ("Tailscale", "tskey-", r"[\w-]{16,}"),
    ("Tavily", "tvly-", r"[\w-]{20,}"),
    ("Tencent Cloud", "AKID", r"[A-Za-z0-9]{28,}"),
    ("Twilio", "SK AC", r"(?:[0-9a-z]{32}|[0-9a-fA-F]{32})(?!\w)"),
    ("Typeform", "tfp_", r"[\w.=-]{40,}"),
    ("Vercel", "vcp_ vci_ vck_ vcr_ vca_", r"[A-Za-z0-9]{24,}"),
    ("Weights & Biases", "wandb_v1_", r"\w{24,}"),
    ("xAI", "xai-", r"[\w-]{24,}"),
    ("Yandex Cloud", "AQVN", r"[\w-]{30,}"),
    ("Yandex Cloud", "t1.", r"[\w-]{13,}={0,2}\.[\w-]{60,}={0,2}"),
    ("Yandex Cloud", "YC", r"[\w-]{38}(?!\w)"),
)
"""Services, the prefixes of their tokens, and what follows these, as a regular expression."""

MARKED: Final = (
    (
        "hashes of passwords",
        "$",
        r"(?:(?:pbkdf2_?[\w-]{0,16}|scrypt|bcrypt(?:_sha256)?|sha1|sha256"
        r"|md5)\$[^\s$]{1,64}\$(?:[^\s$]{1,64}\$)?[\w./+=,$-]{8,}|(?:argon2)?"
        r"\$(?:\d\w?|argon2\w{1,2}|apr1|scrypt|pbkdf2[\w-]{0,16}|[PHSy])"
        r"\$[\w./+=,$-]{16,})",
    ),
    ("hashes of passwords", "{ss", r"\{SSHA\d{0,3}\}[A-Za-z0-9+/=]{16,}"),
    ("hashes of passwords", "{sh", r"\{SHA\d{0,3}\}[A-Za-z0-9+/=]{16,}"),
    ("Amazon Bedrock", "absk", r"ABSK[A-Za-z0-9+/]{60,}=*"),
    ("Twitter", "aaaaaaaaaaaaaaaa", r"A{16}[\w%-]{40,}"),
    (
        "Authress",
        ".acc",
        r"(?:sc|ext|scauth|authress)_[a-z0-9]{5,30}\.[a-z0-9]{4,6}\.acc[_-][\w.+/=-]{24,}",
    ),
    ("Braintree", "access_token$", r"access_token\$\w{4,16}\$\w{8,}\$\w{16,}"),
    ("Contribsys", "contribsys__com", r"(?<=__COM)\W{1,4}[0-9a-f]{8}:[0-9a-f]{8}"),
    ("Expo", "pushtoken[", r"(?:Exponent|Expo)PushToken\[[^\]\s]+\]"),
    ("Azure Active Directory", "~", r"[\w~.-]{3}\dQ~[\w~.-]{31,34}"),
    ("Azure Storage", "==", r"(?<![+/-])[A-Za-z0-9+/]{86}=="),
    ("Azure DevOps", "azdo", r"[A-Za-z0-9]{75}AZDO[A-Za-z0-9]{4}"),
    ("Google Firebase", ":apa91", r"[\w-]{8,}:APA91[\w-]{100,}"),
    ("HashiCorp Terraform", ".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{40,}"),
    ("MaxMind", "_mmk", r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk(?!\w)"),
    ("Mailchimp", "-us", r"[0-9a-f]{32}-us\d{1,2}(?!\w)"),
    ("Snyk", "snyk_", r"snyk_(?:pat|sat|uat)\.[\w.-]{20,}"),
    ("Telegram", ":aa", r"\d{6,10}:AA[\w-]{30,}"),
)
"""Services, a mark in lower case that their tokens hold, and the shape of the whole."""


def _choice(shapes: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(shapes), re.ASCII)


def _by_first() -> dict[str, re.Pattern[str]]:
    shapes: dict[str, list[str]] = {}
    for _, prefixes, rest in PREFIXED:
        for prefix in prefixes.split():
            if _JOINED.fullmatch(prefix):
                shapes.setdefault(prefix[0], []).append(re.escape(prefix) + rest)
    return {first: _choice(each) for first, each in shapes.items()}


def _led() -> re.Pattern[str]:
    shapes = []
    for _, prefixes, rest in PREFIXED:
        for prefix in prefixes.split():
            if not _JOINED.fullmatch(prefix):
                # What can not be in a run stands before it.
                lead = prefix.rstrip(_RUN)
                run = re.escape(prefix[len(lead) :])
                lead = re.escape(lead)
                shapes.append(f"(?<={lead})(?<![A-Za-z0-9]{lead}){run}{rest}")
    return _choice(shapes)


_RUN = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
_JOINED = re.compile(r"[\w-]+", re.ASCII)
LED_BY: Final = frozenset(
    prefix.rstrip(_RUN)[-2:]
    for _, prefixes, _ in PREFIXED
    for prefix in prefixes.split()
    if not _JOINED.fullmatch(prefix)
)
"""What stands right before the run of a token whose prefix ends before it."""

BY_FIRST: Final = _by_first()
"""The shapes of tokens, by the first character of the run of `[A-Za-z0-9_-]` that opens them."""

LED: Final = _led()
"""The shapes of the rest of tokens whose prefix ends such a run, as that of `SG.…` does."""
