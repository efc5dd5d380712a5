/* The samples that are built in: a small set for trying things out, on which every figure is known. 15 positive, then
 * 15 negative. */
#include "model/text_corpus.h"

static const struct str SAMPLES[] = {
	STR_INIT("I love this product! It's amazing!"),    STR_INIT("This is the best thing ever!"),
	STR_INIT("Absolutely wonderful experience!"),      STR_INIT("Great service and quality!"),
	STR_INIT("I'm so happy with this purchase!"),      STR_INIT("Excellent work, highly recommend!"),
	STR_INIT("Perfect! Exactly what I needed!"),       STR_INIT("Outstanding quality and fast delivery!"),
	STR_INIT("Very satisfied with everything!"),       STR_INIT("Fantastic! Will buy again!"),
	STR_INIT("I love it! Very good quality!"),         STR_INIT("Impressive results, very pleased!"),
	STR_INIT("Superb! Exceeded my expectations!"),     STR_INIT("Wonderful product, great value!"),
	STR_INIT("Amazing! Could not be happier!"),        STR_INIT("This is terrible, very disappointed."),
	STR_INIT("Waste of money, poor quality."),         STR_INIT("I hate this, it's awful."),
	STR_INIT("Very bad experience, not recommended."), STR_INIT("Terrible service, will not return."),
	STR_INIT("Poor quality, broke after one use."),    STR_INIT("Disappointed with the purchase."),
	STR_INIT("Not worth it, complete waste."),         STR_INIT("Horrible! Do not buy this!"),
	STR_INIT("Very unhappy with this product."),       STR_INIT("Worst purchase ever made."),
	STR_INIT("Terrible quality and service."),         STR_INIT("Awful experience, avoid this."),
	STR_INIT("Very disappointed, poor value."),        STR_INIT("Bad product, waste of time."),
};
enum { SAMPLES_N = sizeof(SAMPLES) / sizeof(SAMPLES[0]), POSITIVE_N = 15 };
_Static_assert(SAMPLES_N == 30, "as many as there are said to be");

static const struct str CLASSES[] = {STR_INIT("negative"), STR_INIT("positive")};

enum status text_corpus_samples(struct text_corpus *corpus, struct err *err)
{
	*corpus = (struct text_corpus){.n = SAMPLES_N, .classes_n = 2};
	arena_init(&corpus->arena, SIZE_MAX / 4);
	corpus->texts = arena_alloc(&corpus->arena, sizeof(SAMPLES));
	corpus->classes = arena_alloc(&corpus->arena, sizeof(CLASSES));
	corpus->labels = arena_alloc(&corpus->arena, SAMPLES_N * sizeof(int));
	if (!corpus->texts || !corpus->classes || !corpus->labels)
		return err_set(err, STATUS_NO_MEMORY, "There is not enough memory for the samples.");
	memcpy(corpus->texts, SAMPLES, sizeof(SAMPLES));
	memcpy(corpus->classes, CLASSES, sizeof(CLASSES));
	for (int i = 0; i < SAMPLES_N; i++)
		corpus->labels[i] = i < POSITIVE_N;
	return STATUS_OK;
}
