# Completion of phlox for bash. tests/structure compares the lists with the program's help.

_phlox()
{
    local commands='run info tokenize detokenize logits perplexity compare bench export cache runtime verify advise devices doctor top version help'
    local model='--weight-format --group-size --sym --asym --ratio --backup-precision
        --all-layers --group-size-fallback --quant-method --exact --kv-cache --huge-pages
        --threads --cpu-mask --context-size
        --chat-format --device --prefer --ov-config --ort-config --openvino-library --ort-library
        --max-prompt-len --min-response-len --prefill-hint --generate-hint
        --no-cache --cache-dir --cache-limit'
    local generation='--max-new-tokens --temperature --top-k --top-p --min-p --repetition-penalty
        --presence-penalty --frequency-penalty --seed --stop --ignore-eos --context-shift
        --context-keep --top-logprobs --speculate --sample --greedy'
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} words=
    COMPREPLY=()

    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "$commands" -- "$word"))
        return
    fi

    case $before in
    --weight-format) words='f32 f16 bf16 int8 int4 stored' ;;
    --precision) words='int4 int8 fp16 fp32' ;;
    --ep) words='cpu cuda dml' ;;
    --outtype) words='auto f32 f16 bf16 q8_0 q4_0 q4_1' ;;
    --backup-precision) words='int8_asym int8_sym none' ;;
    --group-size-fallback) words='error ignore adjust' ;;
    --quant-method) words='nncf search' ;;
    --kv-cache) words='f32 f16 int8 int4' ;;
    --huge-pages) words='auto on off' ;;
    --speculate) words='auto off' ;;
    --device) words='auto cpu npu gpu cuda dml openvino: ort:' ;;
    --prefer) words='speed efficiency quiet' ;;
    --prefill-hint) words='DYNAMIC STATIC' ;;
    --generate-hint) words='FAST_COMPILE BEST_PERF' ;;
    --openvino-library | --ort-library)
        COMPREPLY=($(compgen -f -- "$word"))
        return
        ;;
    --cache-dir | --powercap | --root)
        COMPREPLY=($(compgen -d -- "$word"))
        return
        ;;
    esac

    if [[ -z $words && $word == -* ]]; then
        case $command in
        run) words="--model $model $generation --raw --system --ids --json --stats --quiet --help" ;;
        info) words="$model --at --json --help" ;;
        tokenize) words="$model --raw --bos --json --help" ;;
        detokenize) words="$model --raw --help" ;;
        logits) words="$model --ids --prefill --all --output --help" ;;
        perplexity) words="$model --help" ;;
        compare) words="$model --with --file --raw --ids --random --seed --json --help" ;;
        bench) words="$model --prompt --decode --depth --batch --repeats --csv --markdown --json
            --compare --chart --machine --no-machine --powercap --help" ;;
        export) words="$model --model --task --trust-remote-code --accept-loss --ep --precision
            --block-size --accuracy-level --outtype --dataset --num-samples
            --quantization-statistics-path --sensitivity-metric --quant-mode --awq
            --scale-estimation --gptq --lora-correction --help" ;;
        cache) words='--cache-dir --all --help' ;;
        runtime) words='--version --index-url --offline --json --help' ;;
        verify) words="$model --json --help" ;;
        advise) words="$model --at --json --help" ;;
        devices) words='--json --root --openvino-library --ort-library --help' ;;
        doctor) words="$model --json --root --help" ;;
        top) words='--interval --once --json --root --help' ;;
        esac
    elif [[ -z $words ]]; then
        case $command in
        cache) ((COMP_CWORD == 2)) && words='ls verify rm' ;;
        runtime)
            ((COMP_CWORD == 2)) && words='list add rm'
            ((COMP_CWORD == 3)) && words='openvino onnxruntime-genai onnxruntime-genai-cuda'
            ;;
        export) ((COMP_CWORD == 2)) && words='openvino onnx gguf huggingface' ;;
        help) words=$commands ;;
        esac
    fi

    if [[ -n $words ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}
complete -o filenames -F _phlox phlox
