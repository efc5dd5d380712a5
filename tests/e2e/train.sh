# Training from the command line: the built-in samples give the known figures (B-096 to B-105), files of samples are read
# or refused with the line that is wrong, and what was trained is a model that can be added.
# shellcheck shell=bash disable=SC2154

new_service none
appcore migrate up >/dev/null
output=$(appcore train sentiment 2>"$dir/errors")
is 'the built-in samples: what is printed (B-096, B-097, B-104, B-105)' "$output" "\
Creating sample training data...
Training samples: 24
Testing samples: 6

Training model...

Model Accuracy: 16.67%

Classification Report:
              precision    recall  f1-score   support

    negative       0.33      0.25      0.29         4
    positive       0.00      0.00      0.00         2

    accuracy                           0.17         6
   macro avg       0.17      0.12      0.14         6
weighted avg       0.22      0.17      0.19         6


Model saved to data/models/sentiment/1/model.json"
is 'nothing on standard error' "$(cat "$dir/errors")" ''
model=$dir/data/models/sentiment/1
is '147 n-grams (B-099)' "$(jq '.vocabulary | length' "$model/model.json")" 147
is 'the most that an n-gram weighs (B-101)' "$(jq '.idf | max * 1e8 | round' "$model/model.json")" 352572864
is 'the priors (B-098)' "$(jq -c '.class_log_prior | map(. * 1e8 | round)' "$model/model.json")" '[-78015856,-61310447]'
is 'the manifest' "$(jq -c '[.kind, .output.classes, .quality.held_out, (.examples | length)]' "$model/manifest.json")" \
	'["text",["negative","positive"],6,5]'
like 'the model passes its examples' "$(appcore model check data/models/sentiment/1 2>&1)" '5 examples passed'
like 'once more: the next version' "$(appcore train sentiment 2>&1)" 'saved to data/models/sentiment/2/model\.json'
cmp -s "$model/model.json" "$dir/data/models/sentiment/2/model.json" && same=yes || same=no
is 'with the same content' "$same" yes

refuses() { # NAME CODE PATTERN ARGUMENT...
	local name=$1 code=0 expected=$2 pattern=$3 said
	shift 3
	said=$(appcore train "$@" 2>&1) || code=$?
	like "$name" "$code $said" "^$expected .*$pattern"
}
refuses 'a version that is there' 100 'Model sentiment 1 is there already\.$' sentiment --version 1
refuses 'a name that is none' 100 '1 to 64 of' sentiment --name ../x
refuses 'nothing to train' 100 'say train sentiment'
refuses 'an option that is none' 100 'option --modle is unknown' sentiment --modle nb
refuses 'a model that is none' 100 'nb or logistic, not tree' sentiment --model tree
refuses 'a share of all' 100 'from 0 up to but not 1' sentiment --split 1
refuses 'n-grams of no words' 100 'least and the most words' sentiment --ngram 0,1
refuses 'a file that is not there' 100 'nothing\.csv can.t be read: No such file' sentiment --data nothing.csv
printf 'review,stars\n"good, very good",5\nbad,1\n"not closed,1\n' >"$dir/bad.csv"
refuses 'a file with a fault: the line' 100 'bad\.csv, line 4: the quotes' sentiment --data bad.csv --text review --label stars
refuses 'a file without the columns' 100 'line 1: there are no columns "text" and "label"' sentiment --data bad.csv
is 'and nothing was left behind' "$(cd "$dir/data/models" && echo *)/$(cd "$dir/data/models/sentiment" && echo *)" 'sentiment/1 2'

# Two files, three classes, CSV and tabs, a pipe's worth of Unicode.
for i in {1..40}; do
	printf '"Great\r\nvalue ""%s""",good\r\nAWFUL İstanbul ΟΔΟΣ %s,bad\r\n' "$i" "$i"
done | sed '1i text,label\r' >"$dir/a.csv"
for i in {1..40}; do printf 'so so, nothing "special %s\tneutral\n' "$i"; done >"$dir/b.txt"
output=$(appcore train sentiment --data a.csv b.txt --model logistic --name opinions --version three --output other --split 0.25 --refit)
like 'CSV and tabs together' "$output" 'Training samples: 90.Testing samples: 30.*Accuracy: 100\.00%.*all 120 samples'
like 'and saved where it was told' "$output" 'Model saved to other/opinions/three/model\.json'
manifest=$dir/other/opinions/three/manifest.json
is 'three classes in order' "$(jq -c '[.output.type, .output.classes, .quality.trained_on, .source]' "$manifest")" \
	'["multiclass",["bad","good","neutral"],120,"a.csv, b.txt"]'
holds 'it can be added' appcore model add other/opinions/three --name opinions --version 3
like 'and is listed' "$(appcore model list)" 'opinions +3 '
