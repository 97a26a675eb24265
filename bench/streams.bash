# What bench/end_to_end, which reads this in, needs for streams: a server of the target on a port of 127.0.0.1, a count
# of the bytes on the wire, what bounds them, and how all that is printed. The head of bench/end_to_end says what is
# measured.
#
# Bytes are counted by a relay (reprotect_workload --relay) between client and server, since not every peer tells them;
# it costs time, so it has a run of its own. reprotect's own count of that run must be the same.
# shellcheck shell=bash disable=SC2154  # what is assigned in bench/end_to_end

export secure=''
port='' relayed=no

ours() { "$tool" "$@" --quiet --json --state "$state" >"$report"; }
by_rsync() { rsync -I --inplace --no-whole-file "$@" "$source" "$uri" && sync "$target"; }
export -f ours by_rsync

# ---- servers ----

port_answers() { (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }
reprotect_listens() {
    port=$(sed -n 's/^{"listening":\["127.0.0.1:\([0-9]*\)"\]}$/\1/p' "$scratch/server")
    [[ -n $port ]]
}
pick_port() { # below those that the kernel gives away
    for ((port = 20000 + RANDOM % 10000; ; ++port)); do port_answers || return 0; done
}

# Serves the target as the marks say, with a relay before the server where one was asked for; sets uri and secure.
serve() { # serve MARKS
    local scheme path=''
    case $1 in
        *[rp]*)
            scheme=reprotect path=/disk secure=--key=$scratch/key
            if [[ $1 == *p* ]]; then secure=--insecure-plaintext; fi
            [[ -f $scratch/key ]] || "$tool" key new --quiet "$scratch/key"
            start_server reprotect_listens "$tool" serve --listen 127.0.0.1:0 --export "disk=$target,target" "$secure" \
                --state "$state.served" --json --quiet
            ;;
        *n*)
            scheme=nbd
            pick_port
            start_server port_answers nbdkit --foreground --exit-with-parent -i 127.0.0.1 -p "$port" file "$target"
            ;;
        *d*)
            scheme=rsync path=/disks/target
            pick_port
            printf '%s\n' "use chroot = no" "uid = $(id -u)" "gid = $(id -g)" "log file = $scratch/rsyncd.log" \
                "[disks]" "path = ${target%/*}" "read only = no" >"$scratch/rsyncd.conf"
            start_server port_answers rsync --daemon --no-detach --config="$scratch/rsyncd.conf" --address=127.0.0.1 \
                --port="$port"
            ;;
        *) return 0 ;;
    esac
    if [[ $relayed == yes ]]; then
        rm -f "$scratch/relay"
        "$maker" --relay 0 127.0.0.1 "$port" "$scratch/relayed" >"$scratch/relay" &
        relay=$!
        until [[ -s $scratch/relay ]] || ! kill -0 "$relay" 2>/dev/null; do sleep 0.01; done
        port=$(<"$scratch/relay")
    fi
    uri=$scheme://127.0.0.1:$port$path
}
stop_relay() {
    if [[ -z $relay ]]; then return 0; fi
    kill "$relay" 2>/dev/null || true
    wait "$relay" 2>/dev/null || true
    relay=
}

# ---- counts ----

# Counts what goes over the wire in a run of its own: count WORKLOAD NAME MARKS COMMAND
count() {
    local forth back
    relayed=yes
    prepare "$1" "$3"
    run "$4"
    stop_server
    stop_relay
    relayed=no
    if [[ $3 == *w* ]]; then check_result "$1, $2"; fi
    read -r forth back <"$scratch/relayed"
    touch "$report"
    jq -c -s --arg w "$1" --arg n "$2" --argjson forth "$forth" --argjson back "$back" \
        '{workload: $w, contender: $n, to_target: $forth, to_source: $back, own: .[0].wire}' "$report" >>"$counts"
    echo "$1 counted: $2 $forth $back bytes" >&2
}
# What has to cross at least: a line "WORKLOAD": {…} of the changed blocks and of what zstd makes of them.
find_floor() { # find_floor WORKLOAD
    local changed packed=null
    prepare "$1" ''
    changed=$("$maker" --changed "$source" "$target" | wc -c)
    if installed zstd; then
        packed=$("$maker" --changed "$source" "$target" |
            split -b 1M --filter='zstd -q -3 --no-check -c | wc -c' - | awk '{ all += $1 } END { print all + 0 }')
    fi
    jq -n -c --arg w "$1" --argjson c "$changed" --argjson p "$packed" '{($w): {changed: $c, zstd3: $p}}' >>"$floors"
}

keep_report() { # keep_report WORKLOAD NAME: of a timed run, where the contender wrote one
    if [[ ! -s $report ]]; then return 0; fi
    jq -c --arg w "$1" --arg n "$2" '. + {workload: $w, contender: $n} | del(.extents)' "$report" >>"$reports"
}

# ---- what came of it ----

# Joins all of it to $streams, as JSON.
find_streams() {
    local aes='' copy=''
    if takes_part "s3i|"; then
        if installed openssl; then
            aes=$(openssl speed -mr -evp aes-128-gcm -bytes 16384 -seconds 1 2>&1 | awk -F: '/^\+F/ { print $NF }')
        fi
        copy=$("$tool" bench --threads 1 --quiet --json | jq .copy.one)
    fi
    streams=$(jq -n --slurpfile counts "$counts" --slurpfile reports "$reports" --slurpfile floors "$floors" \
        --argjson aes "${aes:-null}" --argjson copy "${copy:-null}" '
        def median: sort | length as $n | (.[($n - 1) / 2 | floor] + .[$n / 2 | floor]) / 2;
        def share($of): if . == null or ($of // 0) == 0 then null else . / $of end;
        def of($key): map(select(.workload == $key.workload and .contender == $key.contender));
        ($floors | add // {}) as $floors |
        {floors: $floors, aes_128_gcm_bytes_per_second: $aes, copy_bytes_per_second: $copy, contenders: [
            ($counts + $reports | map({workload, contender}) |
                reduce .[] as $each ([]; if any(.[]; . == $each) then . else . + [$each] end))[] as $key |
            ($counts | of($key)[0]) as $counted | ($reports | of($key)) as $timed |
            ($counts | of($key + {contender: "reprotect push, no TLS"})[0].own) as $plain |
            ($reports | map(select(.workload == $key.workload).bytes.compared) | max) as $compared |
            def parts($way): $counted.own[$way] | {payload, digests, framing: $plain[$way].overhead} +
                {tls: (.overhead - $plain[$way].overhead)};
            $key + {
                counted: ($counted | if . then {to_target, to_source, own} else null end),
                of_floor: ($counted | if . then .to_target + .to_source | share($floors[$key.workload].zstd3)
                           else null end),
                of_compared: ($counted | if . then {to_target: (.to_target | share($compared)),
                                                    to_source: (.to_source | share($compared))} else null end),
                parts: (if $key.contender == "reprotect push" and $counted.own != null and $plain != null
                        then {to_target: parts("to_target"), to_source: parts("to_source")} else null end),
                timed: (if $timed == [] then null else {
                    to_target: ($timed | map(.wire.to_target.total) | median),
                    to_source: ($timed | map(.wire.to_source.total) | median),
                    before_flush_bytes_per_second: ($timed |
                        map(.seconds as $took | .bytes.written | share($took.total - $took.flush)) | if any(. == null)
                        then null else median end)} end)
            }]}')
}

# A number with so many digits behind the point, which jq has no function for.
# shellcheck disable=SC2016  # the dollars are for jq
digits='def digits($n): . * pow(10; $n) | round | tostring | "0" * ($n + 1 - length) + . | .[:-$n] + "." + .[-$n:];'

print_stream() { # print_stream WORKLOAD, after its table of times
    local label to_target to_source share lines name rates of
    while IFS='|' read -r of name _ _ _ _ _ _ _ _ _ rates; do
        if [[ $of == "$1" && $name == "reprotect local" && -n $rates ]]; then
            echo "  the baseline takes $rates times as long as reprotect local"
        fi
    done <<<"$summary"
    jq -r --arg w "$1" '
        '"$digits"' def gb: . / 1e9 | digits(2) + " GB/s";
        select($w == "s3i") | (.contenders[] | select(.workload == $w and .timed != null) |
            "  \(.contender): \(.timed.before_flush_bytes_per_second // 0 | gb) before the flush"),
        "  bounds of one core: " + ([
            if .aes_128_gcm_bytes_per_second then "AES-128-GCM \(.aes_128_gcm_bytes_per_second | gb)" else empty end,
            if .copy_bytes_per_second then "memcpy \(.copy_bytes_per_second | gb)" else empty end] | join(", "))
        ' <<<"$streams"
    printf '  %-40s %14s %14s %22s\n' "bytes on the wire" "to target" "to source" \
        "$([[ $1 == s2 ]] && echo "of the data compared" || echo "of floor")"
    lines=$(jq -r --arg w "$1" '
        '"$digits"'
        def both($what; f): [$what, (.to_target | f), (.to_source | f), ""];
        def line: map(. // "-") | join("|");
        (.floors[$w] // empty | ["floor: zstd -3 of \(.changed)", .zstd3, "", ""] | line),
        (.contenders[] | select(.workload == $w and .counted != null) |
            ([.contender, .counted.to_target, .counted.to_source,
                if $w != "s2" then .of_floor // "-" | if . == "-" then . else digits(3) end
                elif .of_compared.to_target == null then "-"
                else .of_compared | "\(.to_target * 100 | digits(4))% + \(.to_source * 100 | digits(4))%" end] | line),
            (.parts // empty | both("    payload"; .payload), both("    digests"; .digests),
                both("    framing"; .framing), both("    TLS"; .tls) | line),
            (.counted.own // empty | both("    by its own count"; .total) | line),
            (.timed // empty | both("    by its own count, timed runs"; .) | line))' <<<"$streams")
    while IFS='|' read -r label to_target to_source share; do
        printf '  %-40s %14s %14s %22s\n' "$label" "$to_target" "$to_source" "$share" | sed 's/ *$//'
    done <<<"$lines"
}
