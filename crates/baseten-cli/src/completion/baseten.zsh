#compdef baseten
# Completion for zsh. Load it after compinit with: source <(baseten completion zsh)
# or keep it as _baseten in a directory of $fpath.

_baseten() {
    local at=${words[(i)--]}
    if ((at < CURRENT)); then
        # Another program, which the shell completes by itself.
        shift $at words
        ((CURRENT -= at))
        _normal
        return
    fi
    local -a candidates
    candidates=("${(@f)$(
        BASETEN_COMPLETE=zsh _CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((CURRENT - 1)) \
            baseten -- "${(@Q)words}" 2> /dev/null
    )}")
    [[ -n $candidates ]] && _describe -V 'baseten' candidates
}

if [[ ${funcstack[1]} == _baseten ]]; then
    _baseten "$@"
else
    compdef _baseten baseten
fi
