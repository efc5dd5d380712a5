/* appcore train: a text classifier from labelled texts, without any other program. What is computed stands in
 * lib/model/text_*.c; here is what one types and sees. */
#include "model/text_manifest.h"

#include "base/clock.h"
#include "base/json.h"
#include "command.h"
#include "model/folder.h"
#include "model/text_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { QUIET_MS = 1000, TERMINAL_MS = 200, LINES_MS = 5000, EXAMPLES = 5, EXAMPLE_BYTES = 200 };
static const char FILE_NAME[] = "model.json";

struct asked {
	const char *text, *label, *ngram, *max_features, *split, *seed, *model, *output, *name, *version;
	const char *description, *source, *licence;
	bool refit;
};

struct settings {
	const char *const *files; /* none: the samples that are built in */
	int files_n;
	struct text_columns columns;
	struct text_options options;
	double share;
	uint32_t seed;
	bool refit;
	const struct asked *asked;
};

/* --- progress --- */

struct display {
	uint64_t start_ms, shown_ms;
	bool terminal, open; /* open: the cursor stands behind a line of progress */
};

static void show(void *arg, const char *doing, double share)
{
	struct display *display = arg;
	uint64_t now_ms = clock_mono_ms();

	if (now_ms - display->start_ms < QUIET_MS ||
	    now_ms - display->shown_ms < (display->terminal ? TERMINAL_MS : LINES_MS))
		return;
	display->shown_ms = now_ms;
	fprintf(stderr, "%s%s: %.0f %%%s", display->terminal ? "\r\033[K" : "", doing, 100.0 * share,
		display->terminal ? "" : "\n");
	display->open = display->terminal;
}

static void close_line(struct display *display)
{
	if (display->open)
		fputs("\r\033[K", stderr);
	display->open = false;
}

/* --- what was typed --- */

/* "1,2", or "2" for "2,2". */
static bool read_ngram(const char *text, struct text_options *options)
{
	struct str rest = str_of(text), first = str_cut(&rest, ',');
	uint64_t min, max;

	if (!str_to_u64(first, TEXT_NGRAM_MAX, &min) || !str_to_u64(rest.p ? rest : first, TEXT_NGRAM_MAX, &max))
		return false;
	options->ngram_min = (int)min;
	options->ngram_max = (int)max;
	return min >= 1 && min <= max;
}

static int read_numbers(const struct asked *asked, struct settings *settings)
{
	uint64_t number;

	if (asked->ngram && !read_ngram(asked->ngram, &settings->options))
		return command_fail(EXIT_USAGE,
				    "--ngram wants the least and the most words of an n-gram: 1,2; at most %d.",
				    TEXT_NGRAM_MAX);
	if (asked->max_features) {
		if (!str_to_u64(str_of(asked->max_features), TEXT_TERMS_MAX, &number))
			return command_fail(EXIT_USAGE, "--max-features wants a whole number up to %d; 0: all.",
					    TEXT_TERMS_MAX);
		settings->options.max_features = number;
	}
	if (asked->split && (!json_number_of_text(str_of(asked->split), &settings->share) ||
			     !(settings->share >= 0.0 && settings->share < 1.0)))
		return command_fail(EXIT_USAGE, "--split wants a share from 0 up to but not 1: 0.2.");
	if (asked->seed) {
		if (!str_to_u64(str_of(asked->seed), UINT32_MAX, &number))
			return command_fail(EXIT_USAGE, "--seed wants a whole number up to %u.", UINT32_MAX);
		settings->seed = (uint32_t)number;
	}
	return EXIT_OK;
}

static int read_settings(const struct asked *asked, struct settings *settings)
{
	const char *model = asked->model ? asked->model : "nb";

	*settings = (struct settings){.share = 0.2, .seed = 42, .refit = asked->refit, .asked = asked};
	settings->options = (struct text_options){.ngram_min = 1, .ngram_max = 2, .max_features = 5000};
	settings->columns = (struct text_columns){str_of(asked->text), str_of(asked->label)};
	if (strcmp(model, "nb") != 0 && strcmp(model, "logistic") != 0)
		return command_fail(EXIT_USAGE, "--model is nb or logistic, not %s.", model);
	settings->options.method = strcmp(model, "nb") == 0 ? TEXT_NAIVE_BAYES : TEXT_LOGISTIC;
	return read_numbers(asked, settings);
}

/* --- where to --- */

/* The versions of a name: the greatest whole number, and whether one is there. */
struct search {
	struct str name, version;
	uint64_t most;
	bool there;
};

static bool look_at(void *arg, struct str name, struct str version)
{
	struct search *search = arg;
	uint64_t number;

	if (!str_eq(name, search->name))
		return true;
	search->there = search->there || str_eq(version, search->version);
	if (str_to_u64(version, UINT32_MAX, &number) && number > search->most)
		search->most = number;
	return true;
}

/* The version that was asked for, or the whole number after the greatest there is. Before anything is computed: what
 * can't be saved need not be trained. */
static enum status choose_version(const struct asked *asked, const char *dir, struct str name,
				  char out[static MODEL_NAME_BYTES], struct err *err)
{
	struct search search = {.name = name, .version = str_of(asked->version)};

	if (!model_name_is_valid(name) || (asked->version && !model_name_is_valid(search.version)))
		return err_set(err, STATUS_INVALID,
			       "--name and --version want 1 to %d of a-z, A-Z, 0-9, '.', '_', '-'.",
			       MODEL_NAME_BYTES - 1);
	enum status status = folder_list(dir, look_at, &search, err);
	if (status == STATUS_OK && search.there)
		status = err_set(err, STATUS_CONFLICT, "Model %.*s %.*s is there already.", STR_ARG(name),
				 STR_ARG(search.version));
	if (asked->version)
		snprintf(out, MODEL_NAME_BYTES, "%s", asked->version);
	else
		snprintf(out, MODEL_NAME_BYTES, "%llu", (unsigned long long)search.most + 1);
	return status;
}

/* --- training --- */

struct run {
	const struct settings *settings;
	struct arena arena;
	struct text_corpus corpus;
	size_t *order; /* of the samples: test_n to test with, then those to train with */
	size_t test_n;
	struct text_spec spec;
	struct text_classifier *classifier; /* of spec */
	struct text_report report;
	struct display display;
};

static enum status fit(struct run *run, const size_t *rows, size_t n, struct err *err)
{
	enum status status = text_train(&run->spec, &run->corpus, rows, n, &run->settings->options, &run->arena, err);

	text_free(run->classifier);
	run->classifier = NULL;
	if (status == STATUS_OK)
		status = text_new(&run->classifier, &run->spec, err);
	close_line(&run->display);
	return status;
}

static enum status test(struct run *run, struct err *err)
{
	size_t n = run->test_n, bad;
	struct str *texts = arena_alloc(&run->arena, n * sizeof(*texts));
	int *truth = arena_alloc(&run->arena, n * sizeof(int)), *labels = arena_alloc(&run->arena, n * sizeof(int));
	double *results = arena_alloc(&run->arena, n * sizeof(double));
	struct model_batch batch = {.n = n, .texts = texts, .results = results, .labels = labels, .arena = &run->arena};

	if (!texts || !truth || !labels || !results)
		return err_set(err, STATUS_NO_MEMORY, "There is not enough memory to test.");
	for (size_t i = 0; i < n; i++) {
		texts[i] = run->corpus.texts[run->order[i]];
		truth[i] = run->corpus.labels[run->order[i]];
	}
	enum status status = text_classify(run->classifier, &batch, false, &bad, err);
	if (status == STATUS_OK)
		status = text_report_make(&run->report, truth, labels, n, run->corpus.classes_n, &run->arena, err);
	return status;
}

static void print_report(const struct run *run)
{
	struct buf text;

	buf_init_heap(&text);
	text_report_put(&run->report, run->corpus.classes, &text);
	printf("\nModel Accuracy: %.2f%%\n\nClassification Report:\n%.*s\n", 100.0 * run->report.accuracy,
	       STR_ARG(buf_view(&text)));
	buf_release(&text);
}

/* Labels 0 and 1 are what the usual collections of sentiment have. */
static void name_classes(struct text_corpus *corpus)
{
	if (corpus->classes_n == 2 && str_eq(corpus->classes[0], STR("0")) && str_eq(corpus->classes[1], STR("1"))) {
		corpus->classes[0] = STR("negative");
		corpus->classes[1] = STR("positive");
	}
}

static enum status read_corpus(struct run *run, struct err *err)
{
	const struct settings *settings = run->settings;
	enum status status;

	if (settings->files_n == 0) {
		printf("Creating sample training data...\n");
		status = text_corpus_samples(&run->corpus, err);
	} else {
		printf("Reading training data...\n");
		status = text_corpus_read(&run->corpus, settings->files, settings->files_n, &settings->columns, err);
	}
	if (status != STATUS_OK)
		return status;
	name_classes(&run->corpus);
	run->order = arena_alloc(&run->arena, (run->corpus.n + 1) * sizeof(*run->order));
	if (!run->order)
		return err_set(err, STATUS_NO_MEMORY, "There is not enough memory for the samples.");
	text_split(run->corpus.n, settings->share, settings->seed, run->order, &run->test_n);
	if (run->test_n == run->corpus.n)
		return err_set(err, STATUS_INVALID, "Of %zu samples none is left to train with.", run->corpus.n);
	return STATUS_OK;
}

static enum status train(struct run *run, struct err *err)
{
	size_t n = run->corpus.n, train_n = n - run->test_n;

	printf("Training samples: %zu\nTesting samples: %zu\n\nTraining model...\n", train_n, run->test_n);
	fflush(stdout);
	enum status status = fit(run, run->order + run->test_n, train_n, err);
	if (status == STATUS_OK && run->test_n > 0) {
		status = test(run, err);
		if (status == STATUS_OK)
			print_report(run);
	}
	if (status == STATUS_OK && run->settings->refit && run->test_n > 0) {
		printf("\nTraining on all %zu samples...\n", n);
		fflush(stdout);
		status = fit(run, run->order, n, err);
	}
	return status;
}

/* --- saving --- */

static struct str describe(struct run *run)
{
	const struct text_options *options = &run->settings->options;
	struct buf text;

	if (run->settings->asked->description)
		return str_of(run->settings->asked->description);
	buf_init(&text, &run->arena);
	buf_fmt(&text, "%s over TF-IDF of n-grams of %d to %d words, %zu of them.",
		options->method == TEXT_LOGISTIC ? "Logistic regression" : "Multinomial naive Bayes",
		options->ngram_min, options->ngram_max, run->spec.terms_n);
	return buf_view(&text);
}

/* The names of the files, without their folders, which are nobody else's business. */
static struct str name_source(struct run *run)
{
	const struct settings *settings = run->settings;
	struct buf text;

	if (settings->asked->source)
		return str_of(settings->asked->source);
	if (settings->files_n == 0)
		return STR("the samples that are built into appcore");
	buf_init(&text, &run->arena);
	for (int i = 0; i < settings->files_n; i++) {
		const char *slash = strrchr(settings->files[i], '/');
		buf_fmt(&text, "%s%s", i ? ", " : "", slash ? slash + 1 : settings->files[i]);
	}
	return str_is_utf8(buf_view(&text)) ? buf_view(&text) : STR("");
}

/* A few short texts of each end, and none at all. */
static size_t choose_examples(const struct run *run, struct str out[static EXAMPLES])
{
	size_t n = 0;

	for (size_t i = 0; i < run->corpus.n && n < EXAMPLES - 1; i++) {
		struct str text = run->corpus.texts[run->order[i]];
		if (text.n <= EXAMPLE_BYTES)
			out[n++] = text;
	}
	out[n++] = STR("");
	return n;
}

static enum status make_candidate(struct run *run, struct folder_candidate *candidate, struct err *err)
{
	struct str examples[EXAMPLES];
	struct buf file, manifest;
	struct text_about about = {
		.file = STR(FILE_NAME),
		.output = STR("sentiment"),
		.description = describe(run),
		.source = name_source(run),
		.licence = str_of(run->settings->asked->licence),
		.created_us = clock_wall_us(),
		.trained_n = run->settings->refit ? run->corpus.n : run->corpus.n - run->test_n,
		.report = run->test_n ? &run->report : NULL,
		.report_trained_n = run->corpus.n - run->test_n,
		.examples = examples,
	};

	buf_init_heap(&file);
	buf_init_heap(&manifest);
	text_write(&run->spec, &file);
	about.bytes = buf_view(&file);
	about.examples_n = choose_examples(run, examples);
	enum status status = file.failed || !run->classifier
				     ? err_set(err, STATUS_NO_MEMORY, "There is not enough memory to save.")
				     : text_manifest_put(&about, run->classifier, run->corpus.classes,
							 run->corpus.classes_n, &run->arena, &manifest, err);
	*candidate = (struct folder_candidate){manifest.p, manifest.n, file.p, file.n};
	return status;
}

static enum status save(struct run *run, const char *dir, const char *name, const char *version, struct err *err)
{
	struct folder_candidate candidate = {0};
	struct model *model = NULL;
	enum status status = make_candidate(run, &candidate, err);

	if (status == STATUS_OK)
		status = folder_add(&model, dir, str_of(name), str_of(version), &candidate, err);
	if (status == STATUS_OK)
		printf("\nModel saved to %s/%s/%s/%s\n", dir, name, version, FILE_NAME);
	if (status == STATUS_OK && isatty(STDERR_FILENO))
		fprintf(stderr, "To serve it: appcore model add %s/%s/%s --name %s --version %s --activate\n", dir,
			name, version, name, version);
	model_drop(model);
	folder_candidate_release(&candidate);
	return status;
}

static int run_all(const struct settings *settings, const char *dir)
{
	struct run run = {.settings = settings};
	struct settings own = *settings;
	const char *name = settings->asked->name ? settings->asked->name : "sentiment";
	char version[MODEL_NAME_BYTES];
	struct err err = {0};

	own.options.progress = show;
	own.options.progress_arg = &run.display;
	run.settings = &own;
	run.display = (struct display){.start_ms = clock_mono_ms(), .terminal = isatty(STDERR_FILENO)};
	arena_init(&run.arena, SIZE_MAX / 4);
	enum status status = choose_version(settings->asked, dir, str_of(name), version, &err);
	if (status == STATUS_OK)
		status = read_corpus(&run, &err);
	if (status == STATUS_OK)
		status = train(&run, &err);
	if (status == STATUS_OK)
		status = save(&run, dir, name, version, &err);
	text_free(run.classifier);
	text_corpus_release(&run.corpus);
	arena_release(&run.arena);
	fflush(stdout);
	return status == STATUS_OK ? EXIT_OK : command_fail(command_exit_code(status), "%s", err.text);
}

/* Takes the word --data out: what follows it are files, as all words are that are no options. False: none follows. */
static bool drop_data(int *argc, char **argv)
{
	static const char joined[] = "--data=";
	int kept = 1;

	for (int i = 1; i < *argc; i++) {
		if (strncmp(argv[i], joined, sizeof(joined) - 1) == 0)
			argv[kept++] = argv[i] + sizeof(joined) - 1;
		else if (strcmp(argv[i], "--data") != 0)
			argv[kept++] = argv[i];
		else if (i + 1 == *argc || argv[i + 1][0] == '-')
			return false;
	}
	*argc = kept;
	return true;
}

int train_main(int argc, char **argv)
{
	struct asked asked = {0};
	struct settings settings;
	struct config config;
	const struct option_spec specs[] = {
		{"--text", &asked.text, NULL},
		{"--label", &asked.label, NULL},
		{"--ngram", &asked.ngram, NULL},
		{"--max-features", &asked.max_features, NULL},
		{"--split", &asked.split, NULL},
		{"--seed", &asked.seed, NULL},
		{"--model", &asked.model, NULL},
		{"--output", &asked.output, NULL},
		{"--name", &asked.name, NULL},
		{"--version", &asked.version, NULL},
		{"--description", &asked.description, NULL},
		{"--source", &asked.source, NULL},
		{"--licence", &asked.licence, NULL},
		{"--refit", NULL, &asked.refit},
	};
	bool done;

	if (!drop_data(&argc, argv))
		return command_fail(EXIT_USAGE, "--data wants the name of a file.");
	if (!command_options(command_find("train"), &argc, argv, specs, sizeof(specs) / sizeof(specs[0]), &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (argc < 2 || strcmp(argv[1], "sentiment") != 0)
		return command_fail(EXIT_USAGE, "say train sentiment; see --help.");
	int code = read_settings(&asked, &settings);
	if (code != EXIT_OK)
		return code;
	settings.files = (const char *const *)argv + 2;
	settings.files_n = argc - 2;
	if (asked.output)
		return run_all(&settings, asked.output);
	if (!command_load_config(&config))
		return EXIT_USAGE;
	code = run_all(&settings, config.models_dir);
	config_release(&config);
	return code;
}
