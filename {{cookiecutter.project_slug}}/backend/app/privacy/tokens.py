"""Tokens: the public prefixes by which services mark the secrets that they issue."""

from typing import Final

TOKEN_PREFIXES: Final = (
    r"A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA|AIDA|AROA|AGPA|AIPA|ANPA|ANVA",  # AWS
    r"AIza|ya29\.|GOCSPX-|1//0",  # Google
    r"gh[pousr]_|github_pat_|gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-",  # GitHub, GitLab
    r"xox[abeoprs]-|xoxe\.|xapp-",  # Slack
    r"[srp]k_(?:live|test|prod)_|whsec_|sq0[a-z]{3}-|EAAA|shp(?:at|ca|pa|ss)_",  # payments, shops
    r"SG\.|key-|xkeysib-|xsmtpsib-|SK[0-9a-f]{24}|re_[A-Za-z0-9]{8}_",  # mail and messages
    r"npm_|pypi-|rubygems_|dckr_pat_|oy2|CLOJARS_|AKCp",  # package registries
    r"sk-|hf_|gsk_|r8_|pplx-|nvapi-|tvly-|xai-|lsv2_(?:pt|sk)_",  # language models
    r"glsa_|glc_|eyJrIjoi|hv[sbr]\.|dop_v1_|doo_v1_|dor_v1_|dp\.(?:pt|st|ct|sa|scim|audit)\.",
    r"NRAK-|NRJS-|NRII-|NRRA-|dt0[a-z]\d{2}\.|sntry[su]_|sq[apu]_|phx_|phc_|ddp_|nfp_|pul-",
    r"ATATT3|ATCTT3|ATBB|lin_(?:api|oauth)_|ntn_|secret_|figd_|PMAK-|CFPAT-|rdme_|dapi",
    r"pscale_(?:tkn|pw|oauth)_|sbp_|sb_secret_|tfp_|LTAI|AKID|amzn\.mws\.|ops_eyJ|A3-|p8e-",
    r"EZ[AT]K|fio-u-|duffel_|HRKU-|rnd_|fo1_|fm[12]_|FlyV1|sl\.|shippo_|flwseck|lob_|age-secret",
    r"AGE-SECRET-KEY-1|SWMTKN-1-|cloudsmith|ctx7sk|pat-(?:na|eu)\d-|bkua_|CCIPAT_|vc[pikr]_",
)
"""Public prefixes of the tokens of well-known services."""
