# Completion for bash. Load it with: source <(baseten completion bash)

_baseten() {
    local at candidate
    for ((at = 1; at < COMP_CWORD; at++)); do
        [[ ${COMP_WORDS[at]} == -- ]] || continue
        # Another program, which the shell completes by itself.
        COMPREPLY=()
        if declare -F _command_offset > /dev/null; then
            _command_offset $((at + 1))
            return 0
        fi
        compopt -o bashdefault -o default 2> /dev/null
        ((at + 1 < COMP_CWORD)) && return 0
        while IFS= read -r candidate; do
            COMPREPLY+=("$candidate")
        done < <(compgen -c -- "$2")
        return 0
    done
    local line=${COMP_LINE:0:COMP_POINT} words current before=""
    # COMP_WORDS is split at '@', ':' and '=' as well, which profile names and options contain.
    read -a words <<< "$line"
    [[ $line == *[[:space:]] && $line != *\\[[:space:]] ]] && words+=("")
    current=${words[${#words[@]} - 1]}
    # Of a word with such characters, the shell replaces only the last part, which it hands over.
    [[ $current == *"$2" ]] && before=${current%"$2"}
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ -n $candidate && $candidate == "$before"* ]] || continue
        COMPREPLY+=("$(printf '%q' "${candidate#"$before"}")")
    done < <(
        BASETEN_COMPLETE=bash _CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) \
            baseten -- "${words[@]}" 2> /dev/null && echo
    )
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2> /dev/null
    return 0
}

complete -F _baseten baseten
