"""Names: which field names mean that the value beside them is private.

A name is split into words whatever its spelling (`apiKey`, `API_KEY`, `x-api-key`, `api.key`),
and judged by its words, its adjacent pairs of words and the whole of it written together. Safe
words at its ends (`token_count`, `max_tokens`) speak for a name, and win.
"""

import re
import unicodedata
from collections.abc import Iterable
from enum import Enum
from itertools import pairwise
from typing import Final

Verdict = Enum(
    "Verdict",
    "CLEAN CONTAINER COUNTED NAMED NUMBER PATH PHONE_NUMBER SENSITIVE VERSION",
)
"""What a name says of its value: nothing, private if it holds other values, private if it is no
count, its name stands beside it, the number of a person, a file's path, a phone number, private
whatever it is, a version even where it looks like an address."""

# Under names of their own, because to look up a member takes as long as to judge a known name.
CLEAN: Final = Verdict.CLEAN
CONTAINER: Final = Verdict.CONTAINER
COUNTED: Final = Verdict.COUNTED
NAMED: Final = Verdict.NAMED
NUMBER: Final = Verdict.NUMBER
PATH: Final = Verdict.PATH
PHONE_NUMBER: Final = Verdict.PHONE_NUMBER
SENSITIVE: Final = Verdict.SENSITIVE
VERSION: Final = Verdict.VERSION


def _table(text: str) -> list[str]:
    return text.split()


SENSITIVE_WORDS: Final = frozenset(
    _table(
        """
        aadhaar adgangskode adresse apellido apikey authorization baggage birthdate birthday bsn clave cnpj
        codeword contrasena contrasenya contraseña contrasinal cookies coordinates cpf credential credentials creds csrf
        cvc cvv cyfrinair diagnosis disability dni dob ethnicity fjalëkalimi geburtsdatum geheim geheimnis geolocation gender geslo gps haslo hasło heslo iban
        itin jelszo jelszó jeton jwt jwts kennwort kodeord latitude lng longitude losenord lozinka lykilorð lösenord magstripe maiden mdp
        mnemonic nachname nenosiri nif nino otp parola parolă parool pasahitza passcode passcodes passphrase passord passport passwd password
        passwords passwort personnummer pesel postcode psk pw pwd pword religion salary salasana salasõna secret secreto secrets segredo sifre street
        senha slaptažodis slaptazodis ssn surname token tokens totp wachtwoord wagwoord xsrf şifre κωδικός συνθηματικό лозинка парол парола пароль пароля құпиясөз
        პაროლი סיסמא סיסמה گذرواژه पासवर्ड कूटशब्द পাসওয়ার্ড கடவுச்சொல் รหัสผ่าน パスワード 口令 密码 密碼 暗証番号 비밀번호 암호
        """
    )
)
"""A name is sensitive where one of these is among its words."""

SENSITIVE_HEADS: Final = frozenset(
    {
        "auth",
        "authentication",
        "bearer",
        "cookie",
        "csc",
        "dsn",
        "hmac",
        "pan",
        "pass",
        "passe",
        "pat",
        "pepper",
        "pin",
        "salt",
        "session",
        "sid",
        "sig",
    }
    | {"signature"}
)
"""A name is sensitive where it ends in one of these, or in one of these and a word that adds
nothing: `session_id`."""

EMPTY_WORDS: Final = frozenset(
    {
        "code",
        "data",
        "hash",
        "header",
        "id",
        "ids",
        "key",
        "number",
        "sha",
        "str",
        "string",
        "value",
    }
)

SENSITIVE_PAIRS: Final = frozenset(
    tuple(pair.split("_"))
    for pair in _table(
        """
    access_key account_holder account_key address_line app_key application_key account_number advertising_id aes_key android_id api_key auth_code
    auth_key authorization_code aws_key azure_key backup_code backup_codes bank_account
    beneficiary_name billing_address birth_date blood_group card_holder cardholder_name card_no card_num card_number cc_number client_assertion client_cert client_certificate client_key
    cloud_key cloudant_key code_verifier codice_fiscale connection_string consumer_key contact_name customer_name credit_card
    datadog_key date_birth debit_card decryption_key deploy_key driver_licence driver_license
    drivers_licence drivers_license driving_licence driving_license encryption_key factor_code
    family_name fernet_key first_name forwarded_user full_name functions_key geo_location github_key github_pat gitlab_pat given_name google_key
    gpg_key health_card hmac_key home_address iam_key ibm_key identity_number instrumentation_key jenkins_crumb
    insurance_number jwt_key kata_laluan kata_sandi last_name licence_plate license_key license_plate maiden_name
    mailgun_key mailing_address maps_key legal_name marital_status master_key mat_khau mật_khẩu medical_history medical_record medicare_number mfa_code
    middle_name mot_passe national_id national_number nhs_number oauth_verifier one_time
    openai_key pass_phrase pass_word personal_number passenger_name patient_name pgp_key place_birth post_code postal_address
    postal_code private_key recovery_code recovery_codes recovery_key recovery_phrase remote_user routing_number rsa_key
    saml_response scratch_codes secret_answer secret_key secret_phrase security_answer
    security_code security_question seed_phrase sendgrid_key service_key session_key session_state
    shared_key shipping_address signing_key sexual_orientation sl_key sms_code social_security softlayer_key sort_code ssh_key
    steuer_id storage_key street_address street_name stripe_key subscription_key tax_id tax_number track_data
    telegram_key twilio_key two_factor unlock_code user_pass vat_number verification_code wallet_seed
    webhook_key webhook_url zip_code رمز_عبور كلمة_السر كلمة_المرور
    """
    )
)
"""A name is sensitive where two of its words, side by side, are one of these."""

GLUED: Final = (
    *(
        "password",
        "passwrd",
        "passwd",
        "passphrase",
        "passcode",
        "apikey",
        "accesskey",
        "secretkey",
    ),
    *("privatekey", "signingkey", "accesstoken", "authtoken", "refreshtoken", "creditcard"),
    *("cardnumber", "socialsecurity", "sessionid", "sessid", "dateofbirth", "motdepasse"),
    *("adminpass", "authpass", "dbpass", "ftppass", "keypass", "ldappass", "mailpass", "mypass"),
    *("rootpass", "smtppass", "sshpass", "storepass", "userpass", "bindpw", "rootpw"),
)
"""Written as one word (`csrfmiddlewaretoken`), a name is sensitive where it contains one of these
or ends in one of `GLUED_ENDS`."""

GLUED_ENDS: Final = ("token", "secret", "credentials", "passwort", "pwd", "pword")

SECONDS: Final = frozenset(
    {
        "account",
        "address",
        "answer",
        "birth",
        "card",
        "code",
        "codes",
        "factor",
        "holder",
        "key",
        "license",
    }
    | {"licence", "name", "number", "phrase", "plate", "security", "seed", "words"}
    | {"khau", "khẩu", "laluan", "sandi", "السر", "المرور", "عبور"}
)
"""Last words of sensitive pairs, which text writes with a space: `first name: ...`."""

SAFE_FIRST: Final = frozenset(
    {"avg", "has", "is", "max", "maximum", "min", "minimum", "num", "total"}
)
"""A name that begins with one of these counts or asks: `max_tokens`, `has_password`."""

SAFE_LAST: Final = frozenset(
    _table(
        """
    accepted age alg algorithm allowed at attempts brand class consent count counts days duration enabled ended
    endpoint error errors exceeded expired expires expiry format hours in interval invalid issuer
    kind left len length level lifetime limit limits max method min minute minutes missing mode
    module ms path percent policies policy present provider rate ratio reason remaining required
    rotated rotation scheme scope scopes second seconds set size source started status strategy
    strength supported timeout total ttl type types updated uri url usage used valid verified
    version window
    """
    )
)
"""A name that ends in one of these tells of a secret without telling it: `token_type`."""

NAMING: Final = frozenset({"field", "name", "prefix"})
CALLED: Final = frozenset({"cookie", "csrf", "header", "key", "password", "secret", "token"})
"""A name that ends in one of the first, after one of these, tells what a secret is called."""

COUNTS: Final = frozenset({"cookies", "tokens"})
"""A number under one of these says how many there are."""

SAFE_TOKENS: Final = frozenset({"cached", "completion", "input", "output", "prompt", "reasoning"})
"""Words beside `tokens` that make them those of a language model."""

CONTAINERS: Final = frozenset({"card", "cards", "keychain", "keyring", "vault", "wallet"})
"""Under these words a mapping or a list is private as a whole, a plain value is not."""

PHONES: Final = frozenset(
    {
        "phone",
        "phones",
        "telephone",
        "mobile",
        "msisdn",
        "fax",
        "cellphone",
        "tel",
        "telefon",
        "telefono",
        "whatsapp",
    }
)
"""Under these words a value with enough digits is a phone number, however it is written."""

NUMBER_WORDS: Final = frozenset(
    _table(
        """
    aadhaar aadhar aba abn acn ahv amka aufenthaltstitel ausweis ausweisnummer beneficiary dvla gstin bsn bsnr burgerservicenummer cnp cnpj cpf
    cpr cuil cuit curp dea dni egn emso finn fødselsnummer führerschein henkilötunnus hetu hkid idnr iccid iin
    imei imsi inn insee itin jmbg kennitala kennzeichen krankenversicherten
    krankenversichertennummer ktp kvnr lanr licence license mbi medicaid medicare mrn nhs nie nif nik nin
    nino nip nir npi nric oib pan pasaporte paspoort passaporto passeport passnr passnummer passport personalausweis personnummer pesel plate
    plates pps regon reisepass rentenversicherungsnummer rrn rtn rut sin sozialversicherung sozialversicherungsnummer
    ssn steueridentifikationsnummer steuernummer svnr taxpayer tckn tfn tin tnin trn uen ustid ustidnr
    versicherten versichertennummer vin voter zehut егн инн снилс זהות マイナンバー 個人番号 身份证
    身份证号 身份证号码 주민등록번호 여권번호 여권 паспорт 护照 護照 เลขประจำตัวประชาชน เลขบัตรประชาชน
        """
    )
)
"""Beside these words, and under them, a value with enough digits is the number of a person."""

NUMBER_PAIRS: Final = frozenset(
    tuple(pair.split("_"))
    for pair in _table("citizen_id my_number thai_id personal_id voter_id employee_id patient_id")
)
"""Two words that do the same."""

PATHS: Final = frozenset({"abspath", "codefilepath", "filename", "filepath", "pathname"})
"""Written as one word, the names under which an absolute path is one of the file system."""

VERSIONS: Final = frozenset({"release", "version"})
"""A name that ends in one of these may hold `1.2.3.4`."""

HARMLESS_SIGNATURES: Final = frozenset({"call", "function", "method", "type"})
"""Words before `signature` that make it one of code."""

NAMED_KEYS: Final = frozenset(
    {"content", "ctx", "input", "text", "val", "value", "values"}
    | {"ParameterValue", "Text", "Value"}
)
"""Keys of a mapping whose values may be named elsewhere in it: `{"name": …, "value": …}`."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_REPLACED = re.compile(r"\[(?:CARD|EMAIL|Filtered|IBAN|IP|KEY|PHONE|SSN|TOKEN)\]")
"""What stands in a name for something private says nothing of the value."""
_GLUED = re.compile("|".join(GLUED))
_LONGEST_NAME = 128
_PAIR = 2
_MOST_VERDICTS = 4096


_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_ANSI = re.compile(r"\x1b\[[0-9;]{0,16}[A-Za-z]")
_WIDE = re.compile(r"(?:[^\0]\0){4}")
"""Letters in an encoding of two bytes each."""

_ALIKE = str.maketrans(
    "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425"
    "\u0430\u0441\u0435\u043e\u0440\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u051d"
    "\u0261\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a7"
    "\u03b1\u03bf\u03bd\u03c1",
    "ABESIJKMHOPCTXaceopyxsijhdqwgABEZHIKMNOPTXaovp",
)
"""Letters of other alphabets that look like those of ASCII, and these."""

_MIXED = re.compile("(?<=[A-Za-z])[\u0370-\u052f\u0261]+|[\u0370-\u052f\u0261]+(?=[A-Za-z])")


def in_usual_signs(text: str) -> str:
    """Write what only looks like usual letters and signs with these, without what is not seen."""
    text = _ANSI.sub("", text) if "\x1b" in text else text
    text = text.replace("\0", "") if _WIDE.search(text) else text
    if text.isascii():
        return text
    # The dots stand for what was cut out, here and elsewhere, and are no form of anything.
    text = "…".join(unicodedata.normalize("NFKC", each) for each in text.split("…"))
    return _MIXED.sub(lambda match: match[0].translate(_ALIKE), _UNSEEN.sub("", text))


def words(name: str) -> list[str]:
    """Split a name in any spelling into its words, in lower case, without numbers at their ends."""
    normal = in_usual_signs(name)
    if not normal.isascii():
        # The pattern splits camel case of ASCII; a word of another alphabet is kept whole.
        return [word for word in _APART.split(normal.lower()) if word]
    return [word for word in map(str.lower, _WORD.findall(normal)) if not word.isdigit()]


def _is_safe(parts: list[str]) -> bool:
    if len(parts) < _PAIR:
        return not parts
    return (
        parts[0] in SAFE_FIRST
        or parts[-1] in SAFE_LAST
        or (parts[-1] in NAMING and parts[-2] in CALLED)
        or ("tokens" in parts and not SAFE_TOKENS.isdisjoint(parts))
        or ("signature" in parts and not HARMLESS_SIGNATURES.isdisjoint(parts))
    )


_APART = re.compile(r"(?:[^\w\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0eff]|[\d_])+")
"""What stands between words; some alphabets write vowels with signs that are no letters."""

_END = "\0"


def alternatives(literals: Iterable[str], words: Iterable[str] = ()) -> str:
    """Return a pattern for any of some literals, and for any of some words where a word ends.

    They are grouped by how they begin, so that a search fails early at most places.
    """
    by_first: dict[str, list[str]] = {}
    for literal in sorted({*literals, *(word + _END for word in words)}):
        by_first.setdefault(literal[:1], []).append(literal[1:])
    optional = "?" if by_first.pop("", None) else ""
    branches = [
        r"(?![^\W\d_])" if first == _END else re.escape(first) + alternatives(rest)
        for first, rest in by_first.items()
    ]
    if len(branches) > 1 or (branches and optional):
        return f"(?:{'|'.join(branches)}){optional}"
    return "".join(branches)


_COMMON: Final = frozenset({"address", "client", "code", "date", "id", "key", "name", "no", "user"})
"""Words of sensitive pairs that many other names have as well."""


def _commonness(word: str) -> tuple[bool, int]:
    return word in _COMMON, -len(word)


STEMS: Final = {*SENSITIVE_WORDS, *SENSITIVE_HEADS, *GLUED, *GLUED_ENDS, *CONTAINERS, "birth"} | {
    min(pair, key=_commonness) for pair in SENSITIVE_PAIRS
}
"""What some of which is in each name, in lower case, that is sensitive or a container."""

_TELLING = re.compile(
    alternatives(
        {*STEMS, *VERSIONS, *PHONES, *NUMBER_WORDS, "file", "path"},
        {word for pair in NUMBER_PAIRS for word in pair[:1]},
    )
)


def _judge(name: str) -> Verdict:
    if name in NAMED_KEYS:
        return NAMED
    if name.isascii() and not _TELLING.search(name.lower()):
        return CLEAN
    # A name too long to be one is judged by its end, which is next to the value.
    parts = words(_REPLACED.sub(" ", name)[-_LONGEST_NAME:])
    if "".join(parts) in PATHS:
        return PATH
    return VERSION if parts and parts[-1] in VERSIONS else _judge_words(parts)


def _judge_words(parts: list[str]) -> Verdict:
    if tuple(parts[-2:]) not in SENSITIVE_PAIRS and _is_safe(parts):
        verdict = CLEAN
    elif _is_sensitive(parts):
        verdict = COUNTED if parts[-1] in COUNTS else SENSITIVE
    elif not CONTAINERS.isdisjoint(parts):
        verdict = CONTAINER
    elif PHONES.isdisjoint(parts):
        numbered = NUMBER_WORDS.isdisjoint(parts) and NUMBER_PAIRS.isdisjoint(pairwise(parts))
        verdict = CLEAN if numbered else NUMBER
    else:
        verdict = PHONE_NUMBER
    return verdict


def _is_sensitive(parts: list[str]) -> bool:
    glued = "".join(parts)
    heads = parts[-1:] if parts[-1] not in EMPTY_WORDS else parts[-2:]
    return (
        not SENSITIVE_WORDS.isdisjoint(parts)
        or not SENSITIVE_HEADS.isdisjoint(heads)
        or any(pair in SENSITIVE_PAIRS for pair in pairwise(parts))
        or _GLUED.search(glued) is not None
        or parts[-1].endswith(GLUED_ENDS)
        or glued in SENSITIVE_WORDS
        or {"date", "birth"} <= set(parts)
    )


class _Verdicts(dict[str, Verdict]):
    """Remembers the verdicts of a bounded number of names."""

    def __missing__(self, name: str) -> Verdict:
        if len(self) >= _MOST_VERDICTS:
            self.clear()
        verdict = _judge(name)
        if len(name) <= _LONGEST_NAME:
            self[name] = verdict
        return verdict


verdicts: Final = _Verdicts()
"""What names tell of their values, judged when first asked for."""


def judge(name: str) -> Verdict:
    """Say what a field's name tells of its value."""
    return verdicts[name]


def is_sensitive(name: str) -> bool:
    """Whether a value under this name is private, if it is no count."""
    return verdicts[name] in {SENSITIVE, COUNTED}
