#!/bin/bash
# run.sh MCM LIBDIR: tests the command line MCM, and compares its image with that of examples/c/session.c on LIBDIR.
# PYTHON in the environment: one that has numpy.
root=$(cd "$(dirname "$0")/../.." && pwd)
mcm=$(realpath "$1") libdir=$(realpath "$2")
fashion=$root/examples/fashion
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
version=$("$mcm" --version | cut -d' ' -f2)
passed=0 failed=0
python=${PYTHON:-python3}

pass() { passed=$((passed + 1)); }
fail() {
    failed=$((failed + 1))
    echo "FAILED: $1"
    sed 's/^/    /' err out 2>/dev/null | head -20
}
# ok NAME COMMAND...: succeeds.
ok() {
    local name=$1
    shift
    if "$@" >out 2>err; then pass; else fail "$name: status $?"; fi
}
# refused STATUS TEXT ARGUMENTS...: mcm ends with this status and one line of standard error that has TEXT in it.
refused() {
    local status=$1 text=$2
    shift 2
    "$mcm" "$@" >out 2>err
    local found=$?
    if [ $found -ne "$status" ]; then fail "$*: status $found, expected $status"
    elif [ "$(wc -l <err)" -ne 1 ]; then fail "$*: expected one line"
    elif ! grep -qF "mcm: error: " err || ! grep -qF -- "$text" err; then fail "$*: expected \"$text\""
    else pass; fi
}
# shows TEXT: the last output has it.
shows() { if grep -qF -- "$1" out; then pass; else fail "expected \"$1\" in the output"; fi; }
# listening COMMAND...: becomes the command, with Ctrl-C as a terminal's programs have it: shells in the background ignore
# it, and no trap can change that.
listening() {
    exec "$python" -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$@"
}
is_json() { if "$python" -m json.tool <out >json; then pass; else fail "$1: no JSON"; fi; }
pixels() { "$python" "$root/Tests/CLI/files.py" pixels "$1"; }

module=$fashion/module.mcm.safetensors
follow="-m $module -c sketch=$fashion/conditions/00_sketch.png -c segmentation=$fashion/conditions/00_segmentation.png"

# An image, and the same from its recipe.
ok "generate" "$mcm" generate "$fashion/base" $follow --scheduler ddim --steps 25 --seed 1 -o a.png
shows "a.png: 28 x 28, seed 1"
if grep -q "step 25 of 25" err; then pass; else fail "plain lines of progress"; fi
ok "again" "$mcm" generate --from a.png -o b.png --quiet --threads 1
ok "the same file" cmp a.png b.png
if [ -s err ]; then fail "--quiet"; else pass; fi
gcc -O1 -I "$root/include" "$root/examples/c/session.c" -L "$libdir" -Wl,-rpath,"$libdir" -lmcm -o session || exit 1
ok "C" ./session "$fashion" c.png 1
if cmp <(pixels a.png) <(pixels c.png); then pass; else fail "pixels differ from those of examples/c"; fi

# Several, alone and together; options beside a recipe.
ok "one by one" "$mcm" generate --from a.png -n 3 -o "one-{seed}.png" -q
ok "together" "$mcm" generate --from a.png -n 3 --batch 2 -o "two-{seed}.png" -q --json
is_json "generate --json"
if "$python" -c 'import json; d = json.load(open("json")); assert [i["seed"] for i in d] == [1, 2, 3]'; then pass
else fail "generate --json"; fi
for seed in 1 2 3; do ok "seed $seed" cmp one-$seed.png two-$seed.png; done
ok "the first" cmp one-1.png a.png
ok "changed" "$mcm" generate --from a.png --steps 5 -c sketch="$fashion/conditions/01_sketch.png" -s 9 -o d.png
ok "inspect image" "$mcm" inspect d.png
shows '"seed":9,"steps":5'
shows "01_sketch.png"
ok "taken away" "$mcm" generate --from a.png -c segmentation= --steps 3 -q -o d2.png
ok "inspect it" "$mcm" inspect d2.png
if grep -q '"sketch"' out && ! grep -q segmentation out; then pass; else fail "a condition was not taken away"; fi
ok "window" "$mcm" generate "$fashion/base" -m "$module:0.5:0.25-0.75" -c sketch="$fashion/conditions/00_sketch.png" \
    --scheduler dpm_solver_multistep --scheduler-option use_karras_sigmas=true --steps 4 -s 3 -o e.png
ok "inspect window" "$mcm" inspect e.png
shows '"window":[0.25,0.75]'
ok "from that" "$mcm" generate --from e.png -o f.png
ok "the same" cmp e.png f.png
ok "image to image" "$mcm" generate "$fashion/base" --image a.png --strength 0.5 --scheduler ddim --steps 6 -q -o g.png
ok "inpaint" "$mcm" generate "$fashion/base" --image a.png --mask c.png --scheduler ddim --steps 6 -s 1 -o h.png
ok "from that" "$mcm" generate --from h.png -o i.png
ok "the same" cmp h.png i.png
cp "$fashion/conditions/00_sketch.png" sketch.png
ok "own condition" "$mcm" generate "$fashion/base" -m "$module" -c sketch=sketch.png --steps 3 -s 1 -o j.png
cp "$fashion/conditions/01_sketch.png" sketch.png
refused 1 "sketch.png: has changed" generate --from j.png -o k.png
ok "given again" "$mcm" generate --from j.png -c sketch=sketch.png -o k.png

# Models that read texts.
"$python" "$root/Tests/CLI/files.py" latent latent || exit 1
text="-m latent/module.safetensors -c sketch=latent/sketch.png --scheduler euler --steps 4 -s 2 -q"
ok "text" "$mcm" generate latent/sd -p "a boot" $text -o t1.png
ok "from that" "$mcm" generate --from t1.png -q -o t2.png
ok "the same" cmp t1.png t2.png
if grep -q "end of a prompt" err; then fail "a short prompt is cut off"; else pass; fi
ok "a long text" "$mcm" generate --from t1.png -p "a boot and another boot and a third one" -q -o t4.png
if grep -q "note: the end of a prompt is left out" err; then pass; else fail "a long prompt is cut off silently"; fi
ok "in chunks" "$mcm" generate --from t4.png --prompt-chunks -q -o t5.png
if [ -s err ]; then fail "a prompt in chunks is cut off"; else pass; fi
ok "another text" "$mcm" generate --from t1.png -p "a shoe" --negative "-x" --guidance 3 -q -o t3.png
if cmp -s <(pixels t1.png) <(pixels t3.png); then fail "the text is not read"; else pass; fi
ok "inspect text" "$mcm" inspect t3.png
shows '"negative":"-x"'
ok "ControlNet, image, mask" "$mcm" generate latent/sd -p "a (boot:1.2)" --prompt-weights --before-guidance \
    --on-demand --controlnet latent/controlnet=latent/image.png:0.5:0-0.5 --image latent/image.png \
    --mask latent/mask.png --strength 0.75 --scheduler ddim --steps 4 --eta 0.5 -s 3 -n 2 --batch 2 -q -o "u{index}.png"
ok "the second from its recipe" "$mcm" generate --from u1.png -q -o u2.png
ok "the same" cmp u1.png u2.png
ok "XL" "$mcm" generate latent/xl -p "a boot" --steps 2 --size 16x8 -s 1 -q -o v1.png
ok "from that" "$mcm" generate --from v1.png -q -o v2.png
ok "the same" cmp v1.png v2.png
ok "bench text" "$mcm" bench latent/xl --steps 2
ok "inspect ControlNet" "$mcm" inspect latent/controlnet
shows ControlNet
refused 1 "image.png: " generate latent/sd -p "a boot" --image latent/image.png --strength 0.5 --size 16x16 -o x.png
refused 1 "expected an image" generate latent/sd -p "a boot" --strength 0.5 -o x.png
refused 1 "ControlNet's folder" generate latent/sd -p "a" --controlnet latent/sd=latent/image.png -o x.png
"$python" "$root/Tests/CLI/files.py" dataset "$fashion/conditions" greys.safetensors config.json
refused 1 "expected the model's 3" convert greys.safetensors x.safetensors --model latent/sd

# What a recipe has can be taken away.
ok "without its module" "$mcm" generate --from e.png -m "" -c sketch= -q -o e2.png
ok "inspect it" "$mcm" inspect e2.png
if grep -q modules out; then fail "a module was not taken away"; else pass; fi
ok "without its image" "$mcm" generate --from h.png --image "" -q -o h2.png

# What cannot be.
refused 1 "a.png: exists, expected --force" generate --from a.png -o a.png
ok "force" "$mcm" generate --from a.png -o b.png --force
refused 64 "expected {seed}" generate --from a.png -n 2 -o x.png
refused 64 "Missing a model" generate -o x.png
refused 64 "Unknown option" generate --colour red
refused 64 "expected 0 to 1" generate --from a.png --strength 2 -o x.png
refused 64 "name=file" generate "$fashion/base" -c sketch -o x.png
refused 64 "eta" generate "$fashion/base" --scheduler ddpm --eta 0.5 --steps 2 -o x.png
refused 64 "--size" generate "$fashion/base" --size 28 -o x.png
refused 1 "multiples" generate "$fashion/base" --size 30x28 --steps 2 -o x.png
refused 1 "/nowhere: No such file" generate /nowhere -o x.png
refused 1 "No such file" generate "$fashion/base" -m nothing.safetensors -o x.png
refused 1 "no module has a modality \"colour\"" generate "$fashion/base" -m "$module" -c colour=a.png -o x.png
refused 1 "none is attached" generate "$fashion/base" -c sketch=a.png -o x.png
refused 1 "classes" generate "$fashion/base" -m "$module" -c segmentation=a.png --steps 2 -o x.png
refused 1 "reads no text" generate "$fashion/base" -p "a boot" -o x.png
refused 1 "but no image" generate "$fashion/base" --mask a.png --steps 2 -o x.png
refused 1 "nowhere/x.png" generate --from a.png -o nowhere/x.png
refused 1 "has no recipe" generate --from c.png -o x.png
head -c 900 a.png >cut.png
refused 1 "is cut off" generate --from cut.png -o x.png
"$python" "$root/Tests/CLI/files.py" recipe a.png bad.png '{"recipe":1,"libmcm":"'$version'","seed":1,"steps":"many"}'
refused 1 '"steps" is "many", expected an integer' generate --from bad.png -o x.png
"$python" "$root/Tests/CLI/files.py" recipe a.png bad.png '{"recipe":2}'
refused 1 '"recipe" is 2' generate --from bad.png -o x.png
"$python" "$root/Tests/CLI/files.py" recipe a.png bad.png \
    '{"recipe":1,"libmcm":"'$version'","seed":1,"model":{"path":"'"$fashion"'/base","digest":"0"}}'
refused 1 "fingerprint is" generate --from bad.png -o x.png
# What a recipe says does not steer the terminal.
"$python" "$root/Tests/CLI/files.py" recipe a.png bad.png '{"recipe":1,"libmcm":"\u001b[2J\n","seed":1}'
refused_two() {
    "$mcm" "$@" >out 2>err
    if [ $? -eq 1 ] && [ "$(wc -l <err)" -eq 2 ] && ! grep -q $'\033' err; then pass; else fail "$*: two plain lines"; fi
}
refused_two generate --from bad.png -o x.png
# A file of the model that is not in the recipe has changed: the image says so.
cp -r "$fashion/base" changed
ok "a copy" "$mcm" generate --from a.png changed -q -o own.png
sed -i 's/"beta_schedule": "[a-z_0-9]*"/"beta_schedule": "scaled_linear"/' changed/scheduler/scheduler_config.json
refused 1 "again.png: is not the image of own.png" generate --from own.png -q -o again.png
if [ -e again.png ]; then pass; else fail "another image was not written"; fi
# A PNG that another program has changed cannot be compared with.
"$python" "$root/Tests/CLI/files.py" crop a.png cropped.png
ok "a cropped image" "$mcm" generate --from cropped.png -q -o uncropped.png
if grep -q "note: cropped.png was changed by another program" err; then pass; else fail "a cropped image"; fi
ok "changed on purpose" "$mcm" generate --from own.png --steps 3 -q -o other.png
printf '\200\002}q\000.' >pickle.bin
refused 1 "python3 -m mcm.convert" inspect pickle.bin
refused 1 "python3 -m mcm.convert" convert pickle.bin x.safetensors --dtype f16
if [ -e x.png ]; then fail "x.png was written"; else pass; fi
if [ -e /dev/full ]; then
    "$mcm" doctor >/dev/full 2>err
    if [ $? -eq 1 ] && grep -q "standard output: No space" err; then pass; else fail "a full standard output"; fi
fi
refused 64 "is empty" generate "$fashion/base" -o ""
refused 64 "is empty" generate "" -o x.png
refused 64 "eta is nan" generate "$fashion/base" --eta nan -o x.png
refused 64 "guidance is inf" generate "$fashion/base" --guidance inf -o x.png
refused 64 "Argument 2 is not UTF-8" generate $'\xff' -o x.png
refused 64 "file[:weight[:begin-end]]" generate "$fashion/base" -m "$module:0.5:0.7-0.2" -o x.png
refused 64 "file[:weight[:begin-end]]" generate "$fashion/base" -m "$module:nan" -o x.png
"$python" "$root/Tests/CLI/files.py" recipe a.png bad.png \
    '{"recipe":1,"libmcm":"'$version'","seed":1,"steps":2,"scheduler":"DDPMScheduler","eta":0.5,"model":{"path":"'"$fashion"'/base"}}'
refused 1 "bad.png: recipe: " generate --from bad.png -o x.png
refused 1 "is no regular file" generate --from a.png --force -o "$work"
refused 1 "is no regular file" generate --from a.png --force -o /dev/null
refused 1 "File name too long" generate --from a.png -o "$(printf 'n%.0s' $(seq 250)).png"
if [ -c /dev/null ]; then pass; else fail "/dev/null was replaced"; fi
# Root may write anywhere; a file system in /proc may not be written by anyone.
refused 1 "/proc/" generate --from a.png -q -o /proc/x.png

if [ -e /dev/full ]; then
    for what in --help --version "--generate-completion-script bash"; do
        "$mcm" $what >/dev/full 2>err
        if [ $? -eq 1 ] && grep -q "standard output: No space" err; then pass; else fail "$what into a full file"; fi
    done
fi
# Ctrl-C: within a step, without a file.
(listening "$mcm" generate "$fashion/base" --steps 1000 -n 1000 --batch 64 -o "z-{seed}.png" 2>err >out) &
sleep 1.5
kill -INT $!
wait $!
status=$?
if [ $status -eq 130 ] && grep -q "mcm: error: cancelled after step" err; then pass
else fail "Ctrl-C: status $status"; fi
if ls | grep -qE '^z-|tmp$'; then fail "Ctrl-C left a file"; else pass; fi

(exec "$mcm" generate "$fashion/base" --steps 1000 -n 9 --batch 1 --json -q -o "w-{index}.png" 2>err >out) &
for i in $(seq 100); do [ -e w-0.png ] && break; sleep 0.1; done
kill -TERM $!
wait $!
status=$?
if [ $status -eq 143 ]; then pass; else fail "SIGTERM: status $status"; fi
is_json "what was written before it"
if grep -q w-0.png json; then pass; else fail "w-0.png is not in the JSON"; fi
# Who ignores Ctrl-C, as nohup does, goes on ignoring it.
(trap '' INT; exec "$mcm" generate --from a.png --steps 200 -q -o ignoring.png 2>err >out) &
sleep 0.3
kill -INT $!
wait $!
if [ -e ignoring.png ]; then pass; else fail "an ignored Ctrl-C"; fi
# A bar is one line of the terminal.
TERM=xterm script -qec "stty cols 40; '$mcm' generate --from a.png -n 2 --batch 2 -o 'narrow-{index}.png'" /dev/null \
    </dev/null >out 2>err
if "$python" -c 'import re
bars = [re.sub("\x1b.K", "", part) for part in re.split("[\r\n]+", open("out", newline="").read()) if "step" in part]
assert len(bars) == 25 and all(len(bar) < 40 for bar in bars) and "25 of 25" in bars[-1], bars' 2>err; then pass
else fail "a bar in a narrow terminal"; fi

# Data, a bank, training, and going on.
"$python" "$root/Tests/CLI/files.py" dataset "$fashion/conditions" data.safetensors config.json
ok "bank" "$mcm" bank "$fashion/base" data.safetensors bank.mcmbank -n 48 --seed 5
refused 1 "exists" bank "$fashion/base" data.safetensors bank.mcmbank -n 48
(exec "$mcm" bank "$fashion/base" data.safetensors closed.mcmbank -n 48 --seed 5 0<&- 1>&- 2>&-)
"$mcm" doctor >&- 2>err
if [ $? -eq 1 ] && grep -q "standard output" err; then pass; else fail "a closed standard output"; fi
ok "closed descriptors" cmp bank.mcmbank closed.mcmbank
train="data.safetensors --config config.json --steps 6 --batch 4 --warmup 2"
ok "train" "$mcm" train $train --model "$fashion/base" -o whole.mcm.safetensors
ok "train with a checkpoint" "$mcm" train $train --bank bank.mcmbank -o m1.mcm.safetensors --checkpoint run.trainer
ok "resume" "$mcm" train data.safetensors --bank bank.mcmbank --batch 4 --checkpoint run.trainer --resume --warmup 2 \
    -o m2.mcm.safetensors
ok "the same weights" cmp m1.mcm.safetensors m2.mcm.safetensors
refused 1 "exists, expected --resume to go on" train $train --bank bank.mcmbank --checkpoint run.trainer -o m3
if [ -e whole.mcm.safetensors.trainer ]; then fail "train left its checkpoint"; else pass; fi
refused 64 "--seed is 1, expected the checkpoint's 0" train data.safetensors --bank bank.mcmbank --checkpoint run.trainer \
    --seed 1 --resume -o m3
refused 64 "another one than the checkpoint" train $train --bank bank.mcmbank --checkpoint ./m3 -o m3
refused 64 "another one than the data set" train $train --bank bank.mcmbank --force -o ./data.safetensors
refused 1 "is no regular file" train $train --bank bank.mcmbank --checkpoint "$work" --force -o m3
refused 1 "nowhere/x.trainer: No such file" train $train --bank bank.mcmbank --checkpoint nowhere/x.trainer -o m3
refused 1 "nowhere/m3: No such file" train $train --bank bank.mcmbank -o nowhere/m3
refused 1 "nowhere/x: No such file" bank "$fashion/base" data.safetensors nowhere/x -n 48
refused 1 "nowhere/x: No such file" convert "$module" nowhere/x --dtype f32
# What was learned until a step failed is kept.
"$python" "$root/Tests/CLI/files.py" spoiled data.safetensors spoiled.safetensors
refused 1 "example 7: image 0 holds 300" train -q spoiled.safetensors --model "$fashion/base" --config config.json \
    --steps 100 --batch 1 -o m6
if grep -q "step [1-7] is saved in m6.trainer, --resume goes on" err; then pass; else fail "a failed step"; fi
# A loss of any size is written.
"$python" "$root/Tests/CLI/files.py" filled whole.mcm.safetensors huge.safetensors conv_out.bias 1e10
ok "a large loss" "$mcm" train data.safetensors --model "$fashion/base" --module huge.safetensors --steps 1 --batch 4 -o m5
if grep -q "loss [0-9.]*e20" err; then pass; else fail "a large loss"; fi
echo '{"modalities": 3}' >wrong.json
refused 1 "wrong.json: " train data.safetensors --config wrong.json --steps 1 --model "$fashion/base" -o m3
refused 64 "either --model or --bank" train $train -o m3.mcm.safetensors
refused 64 "Missing --steps" train data.safetensors --config config.json --model "$fashion/base" -o m3.mcm.safetensors
refused 1 "config.json" train data.safetensors --config nothing/config.json --steps 1 --model "$fashion/base" -o m3
long="data.safetensors --bank bank.mcmbank --config config.json --steps 100000 --batch 4 -o m4.mcm.safetensors"
(listening "$mcm" train $long 2>err >out) &
sleep 1.5
kill -INT $!
wait $!
status=$?
if [ $status -eq 130 ] && grep -q "saved in m4.mcm.safetensors.trainer, --resume goes on" err; then pass
else fail "train, Ctrl-C: $status"; fi
ok "inspect it" "$mcm" inspect m4.mcm.safetensors.trainer
step=$(awk '$1 == "step" { print $2 }' out)
ok "goes on" "$mcm" train data.safetensors --bank bank.mcmbank --batch 4 --resume --steps $((step + 2)) \
    -o m4.mcm.safetensors

# inspect knows each kind.
kind() {
    ok "inspect $1" "$mcm" inspect "$1"
    if grep -q "^kind  *$2$" out; then pass; else fail "inspect $1: expected $2"; fi
    ok "inspect $1 --json" "$mcm" inspect "$1" --json
    is_json "inspect $1"
}
kind "$fashion/base" model
kind "$module" module
kind a.png image
kind c.png image
kind data.safetensors "data set"
kind bank.mcmbank "bank of predictions"
kind run.trainer trainer
kind "$fashion/base/unet/diffusion_pytorch_model.safetensors" "safetensors file"
ok "fits" "$mcm" inspect "$module" --model "$fashion/base"
shows "fits"
refused 1 "No such file" inspect nothing
refused 1 "expected a model's folder" inspect "$fashion/conditions"
echo "no tensors" >text.safetensors
refused 1 "text.safetensors" inspect text.safetensors

# convert
ok "to F32" "$mcm" convert "$module" wide.safetensors --dtype f32
ok "and back" "$mcm" convert wide.safetensors narrow.safetensors --dtype f16
ok "the same" cmp "$module" narrow.safetensors
ok "a folder" "$mcm" convert "$fashion/base" half --dtype f16
shows "half: "
ok "a file of it" "$mcm" inspect half/unet/diffusion_pytorch_model.safetensors
shows "dtypes      F16"
ok "its parts" cmp "$fashion/base/scheduler/scheduler_config.json" half/scheduler/scheduler_config.json
ok "the module fits it" "$mcm" inspect "$module" --model half
ok "wide" "$mcm" convert half wide/ --dtype f32
ok "it draws" "$mcm" generate wide --steps 2 -s 1 -q -o wide.png
ok "so does the half" "$mcm" generate half --steps 2 -s 1 -q -o half.png
if cmp <(pixels wide.png) <(pixels half.png); then pass; else fail "F16 in F32 is F16"; fi
refused 1 "half: exists, expected a new folder" convert "$fashion/base" half --dtype f16 --force
refused 1 "has no .safetensors file" convert "$fashion/conditions" x --dtype f16
mkdir damaged && cp -r "$fashion/base" damaged/base && head -c 100 "$module" >damaged/base/cut.safetensors
refused 1 "cut.safetensors" convert damaged/base x --dtype f16
if ls | grep -qE '^x$|^x\.|tmp$'; then fail "convert left a part of a folder"; else pass; fi
refused 64 "expected f16 or f32" convert "$module" x.safetensors --dtype f8
refused 64 "either --dtype or --model" convert "$module" x.safetensors
refused 1 "expected a latent diffusion model" convert data.safetensors x.safetensors --model "$fashion/base"

# doctor, bench, help
ok "doctor" "$mcm" doctor
shows "libmcm"
ok "doctor --json" "$mcm" doctor --json
is_json "doctor"
ok "bench" "$mcm" bench "$fashion/base" --steps 3 --threads 1,2 -m "$module"
shows "s per step"
ok "bench --json" "$mcm" bench "$fashion/base" --steps 3 --json
is_json "bench"
refused 64 "expected numbers" bench "$fashion/base" --threads two
for command in generate train bank inspect convert bench doctor; do
    ok "$command --help" "$mcm" $command --help
    shows "EXAMPLES"
done
for shell in bash zsh fish; do ok "completions" "$mcm" --generate-completion-script $shell; done
ok "version" "$mcm" --version
shows "mcm $(awk '/^#define MCM_VERSION_(MAJOR|MINOR|PATCH) / { v = v dot $3; dot = "." } END { print v }' \
    "$root/include/mcm.h")"

# It runs where there is no Swift.
if ldd "$mcm" | grep -qE "swift|Foundation"; then fail "is linked to Swift's libraries"; else pass; fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
