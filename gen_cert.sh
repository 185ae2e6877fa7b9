#!/bin/sh
# Makes the CA and the certificates of leadelect nodes. For what it offers its user, see --help.
#
# Three things are deliberate:
#
# * A key is kept when its certificate is renewed. Two files cannot be replaced in one step, so a node that reads
#   between the two steps would find a new key beside an old certificate. With the same key every pair fits. A new
#   key would not help against a leaked one either: the old certificate stays valid, and only a new CA ends it.
# * Everything is made in a work folder that only the owner can enter. It is moved into place when all of it is
#   there. So a reader sees an old file or a new one, never half of one, and a failed run changes nothing. The work
#   folder is in certs/, so that a move is only a rename. It has a fixed name, so that it is the lock as well.
# * Extensions come from a file and not from options, because OpenSSL 1.1.1 and 3.x differ in their options.

set -eu
umask 077
LC_ALL=C # character ranges below mean ASCII, and openssl's dates are English
export LC_ALL

default_days=365 # short enough that renewing stays a habit
max_days=3650    # the life of a CA made here, rounded down
ca_days=3652     # ten years, so that even --days 3650 ends before it
margin=3600      # seconds that a run may take from asking how long the CA lasts to signing
max_name=240     # characters; with "-cert.pem" it still fits in a file name (255)

usage() {
    cat <<EOF
usage: gen_cert.sh [--days N] [HOST ...]

Makes certificates for leadelect nodes in certs/, beside this script. The first run makes a CA. Each run makes
certificates that the CA signs, each valid for both sides of a connection.

  without HOST   certs/server-cert.pem and certs/server-key.pem, valid for 127.0.0.1, ::1 and localhost:
                 all nodes on one host, as in cfg.yaml
  HOST ...       certs/HOST-cert.pem and certs/HOST-key.pem for each HOST: a host name, an IPv4 or an IPv6
                 address, written as the other nodes' configuration names it. In file names, ':' becomes '_'
                 (fe80::1 gives certs/fe80__1-cert.pem)

  --days N       how long the certificates are valid, 1 to $max_days (default: $default_days); the CA lasts ten years
  -h, --help     this text

Run it again to renew. The CA and the keys are kept; only the certificates are new. For a new key, remove
certs/HOST-key.pem first. Keep certs/ca-key.pem off the nodes: everybody who has it can join the cluster.

Exit status: 0 done, 1 failed (nothing has been changed, unless the message says so), 2 wrong usage.
EOF
}

say() { printf 'gen_cert.sh: %s\n' "$1" >&2; }

fail() {
    say "$1"
    exit 1
}

wrong_usage() {
    say "$1 (see gen_cert.sh --help)"
    exit 2
}

# --- the arguments ----------------------------------------------------------------------------------------------

set_days() {
    case $1 in
    '' | *[!0-9]* | 0* | ?????*) wrong_usage "bad --days '$1': expected a whole number from 1 to $max_days" ;;
    esac
    [ "$1" -le "$max_days" ] || wrong_usage "bad --days '$1': expected a whole number from 1 to $max_days"
    days=$1
}

is_ipv4() {
    case $1 in
    *[!0-9.]* | .* | *. | *..*) return 1 ;;
    esac
    saved_ifs=$IFS
    IFS=.
    # shellcheck disable=SC2086 # split on purpose; only digits and dots are in it
    set -- $1
    IFS=$saved_ifs
    [ $# -eq 4 ] || return 1
    for part in "$@"; do
        case $part in
        0?* | ????*) return 1 ;;
        esac
        [ "$part" -le 255 ] || return 1
    done
}

is_ipv6() {
    case $1 in
    *[!0-9A-Fa-f:]* | *:::* | *::*::* | :[!:]* | *[!:]:) return 1 ;;
    *::*) shortened=yes ;;
    *:*) shortened=no ;;
    *) return 1 ;;
    esac
    groups=0
    saved_ifs=$IFS
    IFS=:
    # shellcheck disable=SC2086 # split on purpose; only hexadecimal digits and colons are in it
    set -- $1
    IFS=$saved_ifs
    for part in "$@"; do
        case $part in
        '') ;;
        ?????*) return 1 ;;
        *) groups=$((groups + 1)) ;;
        esac
    done
    case $shortened in
    yes) [ "$groups" -le 7 ] ;;
    no) [ "$groups" -eq 8 ] ;;
    esac
}

# The names that rustls can look up: letters, digits, '-' and '_', and a last label that is not a number.
is_name() {
    case $1 in
    '' | *[!A-Za-z0-9._-]* | .* | *. | *..* | -* | *- | *.-* | *-.*) return 1 ;;
    esac
    case ${1##*.} in
    *[!0-9]*) ;;
    *) return 1 ;;
    esac
    saved_ifs=$IFS
    IFS=.
    # shellcheck disable=SC2086 # split on purpose; the characters were checked above
    set -- $1
    IFS=$saved_ifs
    for label in "$@"; do
        [ "${#label}" -le 63 ] || return 1
    done
}

file_base() { printf '%s' "$1" | tr ':' '_'; }

add_host() {
    [ "${#1}" -le "$max_name" ] ||
        wrong_usage "bad host '$1': expected at most $max_name characters, came ${#1}"
    is_ipv4 "$1" || is_ipv6 "$1" || is_name "$1" ||
        wrong_usage "bad host '$1': expected a host name (node1.example.org), an IPv4 or an IPv6 address, without port, brackets, zone or wildcard"
    # Two spellings that differ only in case would be one file on some file systems.
    folded=$(file_base "$1" | tr '[:upper:]' '[:lower:]')
    [ "$folded" != ca ] ||
        wrong_usage "bad host '$1': its certificate would be ca-cert.pem, the file of the CA: use the host's full name or its address"
    [ "$folded" != server ] ||
        wrong_usage "bad host '$1': its certificate would be server-cert.pem, which all nodes on one host share: use the host's full name or its address"
    case $taken in
    *" $folded "*) wrong_usage "bad host '$1': a host given before it has the same file names: give each host once" ;;
    esac
    taken="$taken$folded "
    hosts="$hosts $1"
}

days=$default_days
hosts=      # as given, separated by spaces; no accepted host has a space or a glob in it
taken=' '   # their file names in lower case, each between two spaces
options=yes # becomes no after --

while [ $# -gt 0 ]; do
    case $options$1 in
    yes-h | yes--help)
        usage
        exit 0
        ;;
    yes--days)
        [ $# -ge 2 ] || wrong_usage "--days: expected a whole number from 1 to $max_days after it, came nothing"
        set_days "$2"
        shift
        ;;
    yes--days=*) set_days "${1#--days=}" ;;
    yes--) options=no ;;
    yes-*) wrong_usage "unknown option '$1': expected --days N, --help, or hosts" ;;
    *) add_host "$1" ;;
    esac
    shift
done

# --- the CA -----------------------------------------------------------------------------------------------------

command -v openssl >/dev/null 2>&1 ||
    fail "needs the openssl command, version 1.1.1 or later, and there is none in PATH: install it (on Debian: apt-get install openssl) and run this again"

certs=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)/certs
ca_cert=$certs/ca-cert.pem
ca_key=$certs/ca-key.pem
work=$certs/.gen_cert

(umask 022 && mkdir -p "$certs") || fail "cannot make the folder $certs: see the line above"
mkdir "$work" 2>/dev/null || {
    [ ! -e "$work" ] ||
        fail "$work exists: another run has not ended, or was killed. If none is running, remove that folder and run this again"
    fail "cannot make the folder $work: you must be allowed to write to $certs"
}
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Used instead of the system's openssl.cnf, which may be missing or add extensions of its own.
cat >"$work/openssl.cnf" <<'EOF'
[req]
prompt = no
string_mask = utf8only
distinguished_name = subject
x509_extensions = ca

[subject]
CN = leadelect CA

[ca]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
EOF
OPENSSL_CONF=$work/openssl.cnf
export OPENSSL_CONF

# Runs openssl. Prints nothing unless it fails.
ssl() {
    openssl "$@" 2>"$work/errors" || fail "'openssl $1' failed, nothing has been changed: $(cat "$work/errors")"
}

new_key() { ssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out "$1"; }

# A random positive serial number of at most 20 bytes (RFC 5280, section 4.1.2.2).
serial() {
    random=$(ssl rand -hex 15)
    printf '0x5%s' "$random"
}

valid_until() {
    end=$(ssl x509 -in "$1" -noout -enddate)
    printf '%s' "${end#notAfter=}"
}

outlasts() { openssl x509 -in "$1" -noout -checkend "$2" >/dev/null 2>&1; }

is_readable_file() { [ -f "$1" ] && [ -r "$1" ]; }

only_for_owner() {
    case $(ls -lLd "$1") in
    ????------*) ;;
    *) return 1 ;;
    esac
}

# Prints what is wrong with the public key $1, in PEM, if nodes cannot check its signatures.
unsupported_key() {
    case $(printf '%s\n' "$1" | openssl asn1parse -inform PEM 2>/dev/null) in
    *:prime256v1* | *:secp384r1* | *:ED25519*) ;;
    *:secp521r1*) printf 'a key ECDSA P-521' ;;
    *:rsassaPss*) printf 'a key RSA-PSS' ;;
    *:rsaEncryption*)
        bits=$(printf '%s\n' "$1" | openssl pkey -pubin -noout -text 2>/dev/null | sed -n 's/.*(\([0-9]*\) bit.*/\1/p')
        if [ "$bits" -lt 2048 ] || [ "$bits" -gt 8192 ]; then printf 'a key RSA with %s bits' "$bits"; fi
        ;;
    *) printf 'a key of another kind' ;;
    esac
}

supported_keys="nodes can use ECDSA P-256, ECDSA P-384, Ed25519 and RSA with 2048 to 8192 bits"

new_ca_advice="for a new CA, move ca-cert.pem and ca-key.pem away, run this again, and give every host the new ca-cert.pem and a new certificate"

# Notes what happened to the file $1, to print at the end.
report() {
    results="$results  $1  $2
"
}

# The largest number of days, less than $1, that a certificate signed now may be valid under the CA.
days_left() {
    fits=0
    exceeds=$1
    while [ $((exceeds - fits)) -gt 1 ]; do
        middle=$(((fits + exceeds) / 2))
        if outlasts "$signer_cert" $((middle * 86400 + margin)); then fits=$middle; else exceeds=$middle; fi
    done
    printf '%s' "$fits"
}

check_ca() {
    for file in "$ca_cert" "$ca_key"; do
        is_readable_file "$file" || fail "cannot read $file: it must be a file that you may read"
    done
    text=$(openssl x509 -in "$ca_cert" -noout -text 2>/dev/null) ||
        fail "$ca_cert holds no certificate: put the CA's certificate back; $new_ca_advice"
    case $text in
    *CA:TRUE*) ;;
    *) fail "$ca_cert is a certificate, but not a CA's: put the CA's certificate back; $new_ca_advice" ;;
    esac
    case $text in
    *"Certificate Sign"*) ;;
    *"X509v3 Key Usage"*) fail "$ca_cert must not sign certificates (no keyCertSign in its keyUsage): $new_ca_advice" ;;
    esac
    key_of_cert=$(ssl x509 -in "$ca_cert" -noout -pubkey)
    key_of_key=$(openssl pkey -in "$ca_key" -pubout 2>/dev/null) ||
        fail "$ca_key holds no private key that openssl can read: put the CA's key back; $new_ca_advice"
    [ "$key_of_cert" = "$key_of_key" ] ||
        fail "$ca_key is not the key of $ca_cert: put the right key back; $new_ca_advice"
    wrong=$(unsupported_key "$key_of_cert")
    [ -z "$wrong" ] || fail "the CA $ca_cert has $wrong, and $supported_keys: $new_ca_advice"
    outlasts "$ca_cert" 0 ||
        fail "the CA $ca_cert has expired on $(valid_until "$ca_cert"): $new_ca_advice"
    only_for_owner "$ca_key" || {
        chmod go= "$ca_key" || fail "others may read $ca_key, and its mode cannot be changed: see the line above"
        say "warning: others could read $ca_key until now. Everybody who has read it can join the cluster; $new_ca_advice"
    }
}

results=
if [ -e "$ca_cert" ] && [ -e "$ca_key" ]; then
    check_ca
    report ca-cert.pem "kept, valid until $(valid_until "$ca_cert")"
    signer_cert=$ca_cert
    signer_key=$ca_key
elif [ -e "$ca_cert" ]; then
    fail "$ca_cert exists, but its key $ca_key is not there: bring the key back for this run; $new_ca_advice"
elif [ -e "$ca_key" ]; then
    fail "$ca_key exists, but its certificate $ca_cert is not there: put it back (every node has a copy); $new_ca_advice"
else
    signer_cert=$work/ca-cert.pem
    signer_key=$work/ca-key.pem
    new_key "$signer_key"
    number=$(serial)
    ssl req -x509 -new -key "$signer_key" -days "$ca_days" -set_serial "$number" -out "$signer_cert"
    chmod 644 "$signer_cert"
    report ca-key.pem "new, keep it off the nodes"
    report ca-cert.pem "new, valid until $(valid_until "$signer_cert")"
fi

outlasts "$signer_cert" $((days * 86400 + margin)) || {
    left=$(days_left "$days")
    ends="a certificate of $days days would outlive its CA, which ends in $left whole days, on $(valid_until "$signer_cert")"
    [ "$left" -gt 0 ] || fail "$ends: $new_ca_advice"
    fail "$ends: use --days $left or less; $new_ca_advice"
}

# --- make and move ----------------------------------------------------------------------------------------------

# The key of $1 that is kept. Prints nothing if a new one has to be made.
kept_key() {
    key=$certs/$1-key.pem
    [ -e "$key" ] || return 0
    is_readable_file "$key" || fail "cannot read $key: it must be a file that you may read, or not exist"
    if ! openssl pkey -in "$key" -passin pass: -noout 2>/dev/null; then
        say "$key holds no private key that a node can read: it gets a new one"
    elif wrong=$(unsupported_key "$(openssl pkey -in "$key" -passin pass: -pubout)") && [ -n "$wrong" ]; then
        say "$key holds $wrong, and $supported_keys: it gets a new one"
    elif ! only_for_owner "$key"; then
        say "others could read $key until now: it gets a new one"
    else
        printf '%s' "$key"
    fi
}

# Makes $1-cert.pem, valid for the alternative names $2 ("IP:::1,DNS:localhost"), and its key if none is kept, in
# the work folder.
make_cert() {
    [ ! -d "$certs/$1-cert.pem" ] || fail "$certs/$1-cert.pem is a folder: move it away and run this again"
    key=$(kept_key "$1")
    if [ -n "$key" ]; then
        report "$1-key.pem" "kept"
    else
        key=$work/$1-key.pem
        new_key "$key"
        report "$1-key.pem" "new, for this node only"
    fi
    cat >"$work/extensions" <<EOF
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $2
EOF
    cert=$work/$1-cert.pem
    # The name is in the alternative names only: a common name could not hold more than 64 characters of it.
    ssl req -new -key "$key" -subj "/CN=leadelect node" -out "$work/request"
    number=$(serial)
    ssl x509 -req -in "$work/request" -CA "$signer_cert" -CAkey "$signer_key" -set_serial "$number" \
        -days "$days" -extfile "$work/extensions" -out "$cert"
    ssl verify -partial_chain -CAfile "$signer_cert" "$cert" >/dev/null
    chmod 644 "$cert"
    report "$1-cert.pem" "new, valid for $2 until $(valid_until "$cert")"
}

# Moves $1 from the work folder into its place, if there is a new one.
put() {
    [ -e "$work/$1" ] || return 0
    mv -f "$work/$1" "$certs/$1" ||
        fail "cannot replace $certs/$1: see the line above. Some files in $certs are new and some are old: run this again"
}

# The key is moved before its certificate. If both are new, a reader in between finds a pair that does not fit and
# must read again. That happens only with a new key, and this is why keys are kept.
put_pair() {
    put "$1-key.pem"
    put "$1-cert.pem"
}

if [ -z "$hosts" ]; then
    make_cert server "IP:127.0.0.1,IP:::1,DNS:localhost"
fi
for host in $hosts; do
    if is_name "$host"; then kind=DNS; else kind=IP; fi
    make_cert "$(file_base "$host")" "$kind:$host"
done

trap '' HUP INT TERM # only a few renames follow; a stop between two of them would help nobody

put_pair ca
if [ -z "$hosts" ]; then
    put_pair server
fi
for host in $hosts; do
    put_pair "$(file_base "$host")"
done
rm -rf "$work"

# Printed last: a closed pipe must not stop the renames.
printf 'in %s:\n%s' "$certs" "$results"
