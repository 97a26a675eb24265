# Bash completion for reprotect: verbs, the options of each verb, the words that an option takes, and file names.
# It needs nothing but bash. Install it as /usr/share/bash-completion/completions/reprotect, or source it.

_reprotect() {
    local current=${COMP_WORDS[COMP_CWORD]} previous='' verb='' word i
    ((COMP_CWORD > 0)) && previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()

    # '=' breaks words: "--verify=re" comes as "--verify", "=", "re".
    if [[ $current == '=' ]]; then
        current=''
    elif [[ $previous == '=' ]] && ((COMP_CWORD > 1)); then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            sync | diff | estimate | checksum | map | bench | serve | key)
                verb=$word
                break
                ;;
        esac
    done

    case $previous in
        --verify) mapfile -t COMPREPLY < <(compgen -W 'root reread' -- "$current"); return ;;
        --progress) mapfile -t COMPREPLY < <(compgen -W 'auto bar json none' -- "$current"); return ;;
        --digest) mapfile -t COMPREPLY < <(compgen -W 'xxh3 sha256' -- "$current"); return ;;
        --block-size) mapfile -t COMPREPLY < <(compgen -W '512 4KiB 16KiB 64KiB' -- "$current"); return ;;
        --chunk-size) mapfile -t COMPREPLY < <(compgen -W '256KiB 1MiB 4MiB 16MiB' -- "$current"); return ;;
        --memory) mapfile -t COMPREPLY < <(compgen -W '64MiB 96MiB 256MiB 1GiB' -- "$current"); return ;;
        --model) mapfile -t COMPREPLY < <(compgen -W 'pipeline asr-2018 asr-2023' -- "$current"); return ;;
        --target) mapfile -t COMPREPLY < <(compgen -W 'usable missing deleted corrupted out-of-reach' -- "$current"); return ;;
        --connections) mapfile -t COMPREPLY < <(compgen -W 'auto 1 2 4 8 16' -- "$current"); return ;;
        --depth | --threads | --limit | --max-cost | --egress-from | --egress-to | --billed-before | --budget | --sample | --seed | --listen | --export | --allow | --ssh) return ;;
        --state)
            compopt -o filenames 2> /dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            return
            ;;
        --within | --source-allocation | --target-allocation | --probe-write | --against | --output | -o | --prices | \
            --history | --key | --cert | --cert-key | --ca | --remote-tool)
            compopt -o filenames 2> /dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
    esac

    local every='--json --quiet --help'
    local common="$every --dry-run --yes --direct --state --progress"
    local certificates='--cert --cert-key --ca --insecure-plaintext'
    local peer="--key $certificates --ssh --remote-tool"
    local engine="$peer --digest --block-size --chunk-size --depth --threads --memory --limit"
    local pair='--connections --allow-larger --within --source-allocation --target-allocation'
    local prices='--egress-from --egress-to --prices --billed-before'
    local options=''
    case $verb in
        sync)
            options="$common $engine $pair --verify --retry --max-egress --max-cost --source-generation --truncate --reverse"
            options+=" $prices --estimate-first --budget --sample --seed --probe-write --history"
            ;;
        diff) options="$common $engine $pair --output --extents $prices" ;;
        estimate)
            options="$every $peer --digest --block-size --chunk-size --depth --limit --connections --verify --direct"
            options+=' --source-allocation --target-allocation --budget --sample --seed --probe-write --model --disk --size --used'
            options+=' --target-used --changed --target --rate --disk-rate --initial-replication --source-read'
            options+=' --target-read --target-write --one-machine --link --round-trip --compression --zero-share'
            options+=" $prices --list-prices --history"
            ;;
        checksum) options="$common $engine --output --against --blocks --ignore-allocation" ;;
        map) options="$common --extents" ;;
        bench) options="$common --block-size --chunk-size --depth --threads" ;;
        serve)
            options="$every $certificates --listen --export --key --allow --once --stdio"
            options+=' --direct --state --depth --threads --memory --limit --connections'
            ;;
        key) options=$every ;;
        *)
            if [[ $current == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W '--help --version' -- "$current")
            else
                mapfile -t COMPREPLY < <(compgen -W 'sync diff estimate checksum map bench serve key help' -- "$current")
            fi
            return
            ;;
    esac

    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    elif [[ $previous == key && $verb == key ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'new show' -- "$current")
    elif [[ $verb != serve ]]; then
        compopt -o filenames 2> /dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}

complete -F _reprotect reprotect
