//! Examples for the help pages: realistic commands.

/// After `ofa --help`.
pub const OVERVIEW: &str = "\
Start here:
  ofa run                                 everything, on the bundled handwritten digits
  ofa run --data my-photos/ --out first   the same for your own images, one folder per class
  ofa run my-plan.toml --out second       all settings from a file, such as first/pipeline.toml

Values:
  SPACE   a name listed by `ofa spaces`, a TOML file with a [space] table, or a MODEL for its subnets
  MODEL   a file that ofa wrote, or mcunet, the built-in pretrained network. Without --arch, a whole network is used
          as it is; with --arch, it is the supernet of its subnets
  ARCH    max, min, random, JSON such as '{\"ks\":[…],\"e\":[…],\"d\":[…],\"r\":224}', or a file
  DATA    bundled, or a folder: <class>/*.jpg, train/<class>/*.jpg with val/ or test/, labels.csv, CIFAR binary,
          MNIST IDX; `ofa data` shows how it is read
  DEVICE  a name listed by `ofa devices`, a profile (.toml), a table (.yaml), or a folder of tables

Exit codes: 0 success, 1 failure at run time, 2 bad usage or input, 130 interrupted (work saved).
--seed sets all random choices; --json prints one JSON value on stdout; OFA_DEVICE_PATH lists folders of profiles.";

/// After `ofa run --help`.
pub const RUN: &str = "\
Examples:
  ofa run
  ofa run --data my-photos/ --out photos
  ofa run --data my-photos/ --out photos --on-corrupt skip
  ofa run photos/pipeline.toml --out edited
  ofa run photos                          resume after Ctrl-C, a crash, a power cut, or editing photos/pipeline.toml
  ofa search photos --device pixel4-cpu --max-latency-ms 5,10    networks for another device

The folder then contains report.html, nets/*.onnx, nets/*.safetensors, results.json, pipeline.toml (the plan, including
all defaults), README.txt, which explains the rest, and work/: train/supernet.safetensors, pairs.jsonl, predictor.json …";

/// After `ofa report --help`.
pub const REPORT: &str = "\
Example:
  ofa report ofa-run";

/// After `ofa devices --help`.
pub const DEVICES: &str = "\
Examples:
  ofa devices
  ofa devices calibrate --device pixel4-cpu --space tiny-28 --measured phone.jsonl -o my-phone.toml
  ofa devices fit --space tiny-28 --measured phone.jsonl -o my-phone.toml";

/// After `ofa info --help`.
pub const INFO: &str = "\
Examples:
  ofa info --space ofa-mbv3-w1.0
  ofa info --space ofa-mbv3-w1.0 --arch max --classes 10
  ofa info --model mcunet --device pixel4-cpu
  ofa info --space tiny-28 --arch random --seed 3 --json";

/// After `ofa data --help`.
pub const DATA: &str = "\
Examples:
  ofa data my-photos/
  ofa data my-photos/ -v                  also name every file that is not read
  ofa data my-photos/ --json";

/// After `ofa train --help`.
pub const TRAIN: &str = "\
Examples:
  ofa train cifar10.toml --data cifar-10-batches-bin/ --out cifar
  ofa train cifar10.toml --data cifar-10-batches-bin/ --out cifar --resume";

/// After `ofa eval --help`.
pub const EVAL: &str = "\
Examples:
  ofa eval photos                         score the recommended network of a run on its test images
  ofa eval --model ofa-run/work/train/supernet.safetensors --arch min --data bundled
  ofa eval --model nets/phone.safetensors --data my-photos/ --limit 500";

/// After `ofa forward --help`.
pub const FORWARD: &str = "\
Example:
  ofa forward --model supernet.safetensors --arch max --input x.npy --output y.npy \\
      --calibrate c.npy --calibrate-batches 64,64";

/// After `ofa classify --help`.
pub const CLASSIFY: &str = "\
Examples:
  ofa classify photos new-photo.jpg       use the recommended network of a run
  ofa classify --model photos/nets/pixel4-cpu-1.2ms.safetensors new-photo.jpg
  ofa classify --model photos/nets/pixel4-cpu-1.2ms.onnx new-photos/
  ofa classify --model mcunet holiday.jpg
  ofa classify --model supernet.safetensors --arch max --top 3 *.jpg --json";

/// After `ofa collect --help`.
pub const COLLECT: &str = "\
Examples:
  ofa collect --model ofa-run/work/train/supernet.safetensors --data bundled --count 200 -o pairs.jsonl
  ofa collect --model ofa-run/work/train/supernet.safetensors --data bundled --count 200 -o pairs.jsonl --resume";

/// After `ofa fit --help`.
pub const FIT: &str = "\
Examples:
  ofa fit --pairs pairs.jsonl --space tiny-28 -o predictor.json
  ofa fit --pairs pairs.jsonl --space tiny-28 --predictor elastic-net --holdout 0.2 -o predictor.json
  ofa fit --pairs pairs.jsonl --space tiny-28 --curve 50,100,200 -o predictor.json";

/// After `ofa predict --help`.
pub const PREDICT: &str = "\
Example:
  ofa predict --predictor predictor.json --space tiny-28 --archs archs.jsonl";

/// After `ofa latency --help`.
pub const LATENCY: &str = "\
Examples:
  ofa latency --device note10 --space ofa-mbv3-w1.2 --arch max
  ofa latency --device my-board.toml --space tiny-28 --archs archs.jsonl --json";

/// After `ofa search --help`.
pub const SEARCH: &str = "\
Examples, for a finished run (RUN is its folder):
  ofa search photos --device pixel4-cpu --max-latency-ms 5,10
  ofa search photos --device host --max-latency-ms 60%
  ofa search photos --max-macs 20%,40% -o light
Examples, with a space and a predictor:
  ofa search --space tiny-28 --accuracy predictor.json --device pixel4-cpu --max-latency-ms 0.2,0.3,0.5
  ofa search --space ofa-mbv3-w1.0 --accuracy acc.pth --max-macs 300e6,600e6 --strategy evolution
  ofa search --space mcunet --accuracy predictor.json --max-macs 20%,40%,60%
  ofa search --space tiny-28 --accuracy predictor.json --device stm32f746 --max-sram-kb 32 --max-flash-kb 128
  ofa search --space tiny-28 --accuracy predictor.json --device pixel4-cpu:0.2,0.3 --device stm32f746:40,80
  ofa search --space tiny-28 --accuracy predictor.json --device pixel4-cpu --pareto --plot front.svg
  ofa search --space ofa-mbv3-w1.2 --accuracy acc.pth --device note10 --max-latency-ms 15,20,25 --seconds 60";

/// After `ofa refine --help`.
pub const REFINE: &str = "\
Examples:
  ofa refine --model ofa-run/work/train/supernet.safetensors --data bundled --pairs ofa-run/work/pairs.jsonl \\
      --device pixel4-cpu -o refined/predictor.json
  ofa refine --model supernet.safetensors --data my-photos/ --pairs pairs.jsonl --rounds 5 -o predictor.json

The first command writes refined/pairs-refined.jsonl and does not change ofa-run/work/pairs.jsonl. After Ctrl-C, or for
further rounds, give the new file as --pairs: the subnets in it are not measured again. Two calls of one round give the same
result as one call of two rounds.";

/// After `ofa extract --help`.
pub const EXTRACT: &str = "\
Example:
  ofa extract --model supernet.safetensors --arch arch.json --calibrate my-photos/ -o net.safetensors";

/// After `ofa finetune --help`.
pub const FINETUNE: &str = "\
Examples:
  ofa finetune --model mcunet --new-head --image-size 96 --data my-photos/ -o mine.safetensors
  ofa finetune --model net.safetensors --data my-photos/ --epochs 10 --teacher mine.safetensors -o tuned.safetensors
  ofa finetune --model net.safetensors --data my-photos/ --epochs 10 -o tuned.safetensors --resume

Ctrl-C saves a checkpoint in the folder tuned.safetensors.checkpoint, which is removed once the output is written.";

/// After `ofa export --help`.
pub const EXPORT: &str = "\
Examples:
  ofa export photos --device pixel4-cpu --int8    export the recommended network of a run, next to its f32 file
  ofa export --model net.safetensors -o net.onnx --verify
  ofa export --model supernet.safetensors --arch min --calibrate bundled -o min.onnx --verify
  ofa export --model net.safetensors -o net-int8.onnx --int8 --calibrate my-photos/ --preprocess
  ofa eval --onnx net-int8.onnx --data my-photos/";

/// After `ofa measure --help`.
pub const MEASURE: &str = "\
Examples:
  ofa measure --device host --model net.safetensors
  ofa measure --model net.safetensors --runtime onnxruntime --threads 2";

/// After `ofa profile --help`.
pub const PROFILE: &str = "\
Examples:
  ofa profile --space tiny-28 -o my-machine.toml --check 60
  ofa profile --space ofa-mbv3-w1.0 --resolutions 160,192,224 -o my-machine.yaml --format yaml
  ofa search --space tiny-28 --accuracy predictor.json --device my-machine.toml --max-latency-ms 0.5,1";

/// After `ofa import --help`.
pub const IMPORT: &str = "\
Example:
  ofa import supernet ofa_mbv3_d234_e346_k357_w1.0 --space ofa-mbv3-w1.0 -o supernet.safetensors";

/// After `ofa completions --help`.
pub const COMPLETIONS: &str = "\
Examples:
  ofa completions bash > ~/.local/share/bash-completion/completions/ofa
  ofa completions zsh > ~/.zfunc/_ofa
  ofa completions fish > ~/.config/fish/completions/ofa.fish";
