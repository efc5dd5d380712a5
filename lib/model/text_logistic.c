/* Logistic regression with an L2 penalty: the weights that make
 *   sum over texts of -ln(probability of its class) + (sum of squares of the weights) / (2 c)
 * smallest; intercepts are free. Newton's method, each step found by conjugate gradients with products of the Hessian
 * and a vector (Nocedal, Wright, "Numerical Optimization", 2006, algorithm 7.1), until the gradient is as near to 0 as
 * doubles allow. The problem is strictly convex in the weights, so there is one answer, which scikit-learn's solvers
 * come near to.
 *
 * A point is rows_n × (terms_n + 1) numbers: of each row the weights, then the intercept. Two classes need one row. */
#include "model/text_train_impl.h"

#include <math.h>
#include <stdlib.h>

enum { STEPS_MAX = 200, HALVINGS_MAX = 40 };
static const double GRADIENT_ENOUGH = 1e-11; /* of its norm at the start */
static const double GRADIENT_NEAR = 1e-6;    /* where rounding may stop it without harm */

struct problem {
	const struct text_matrix *matrix;
	double penalty; /* 1 / c */
	int rows_n;
	size_t width;    /* terms_n + 1 */
	size_t n;        /* rows_n × width */
	double *margins; /* texts × rows_n, at the point */
	double *moves;   /* the same, of the direction */
	double *shares;  /* probabilities of the rows' classes */
	double *scratch; /* texts × rows_n */
};

static double dot(const double *a, const double *b, size_t n)
{
	double sum = 0.0;

	for (size_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* out = for each text its scores by the point v. */
static void multiply(const struct problem *p, const double *v, double *out)
{
	const struct text_matrix *m = p->matrix;

	for (size_t i = 0; i < m->rows_n; i++)
		for (int r = 0; r < p->rows_n; r++) {
			const double *row = v + (size_t)r * p->width;
			double sum = row[m->terms_n];
			for (size_t at = m->starts[i]; at < m->starts[i + 1]; at++)
				sum += m->values[at] * row[m->terms[at]];
			out[i * (size_t)p->rows_n + (size_t)r] = sum;
		}
}

/* out = the transposed matrix times `of`, plus the penalty's part of point v. */
static void multiply_back(const struct problem *p, const double *of, const double *v, double *out)
{
	const struct text_matrix *m = p->matrix;

	for (int r = 0; r < p->rows_n; r++) {
		double *row = out + (size_t)r * p->width;
		for (size_t t = 0; t < m->terms_n; t++)
			row[t] = p->penalty * v[(size_t)r * p->width + t];
		row[m->terms_n] = 0.0;
		for (size_t i = 0; i < m->rows_n; i++) {
			double factor = of[i * (size_t)p->rows_n + (size_t)r];
			for (size_t at = m->starts[i]; at < m->starts[i + 1]; at++)
				row[m->terms[at]] += m->values[at] * factor;
			row[m->terms_n] += factor;
		}
	}
}

/* ln(1 + exp(z)) */
static double softplus(double z)
{
	return z > 0.0 ? z + log1p(exp(-z)) : log1p(exp(z));
}

/* The loss of a text of class `label` with these scores. Fills shares unless NULL. */
static double text_loss(const double *scores, int rows_n, int label, double *shares)
{
	if (rows_n == 1) {
		double e = exp(-fabs(scores[0]));
		if (shares)
			shares[0] = (scores[0] > 0.0 ? 1.0 : e) / (1.0 + e);
		return softplus(label ? -scores[0] : scores[0]);
	}
	double most = scores[0], sum = 0.0;
	for (int r = 1; r < rows_n; r++)
		most = scores[r] > most ? scores[r] : most;
	for (int r = 0; r < rows_n; r++)
		sum += exp(scores[r] - most);
	for (int r = 0; shares && r < rows_n; r++)
		shares[r] = exp(scores[r] - most) / sum;
	return log(sum) + most - scores[label];
}

/* The sum of squares of the weights of x + t * d, which is all of it but the intercepts. */
static double squares(const struct problem *p, const double *x, const double *d, double t)
{
	double sum = 0.0;

	for (size_t i = 0; i < p->n; i++)
		if ((i + 1) % p->width != 0)
			sum += (x[i] + t * d[i]) * (x[i] + t * d[i]);
	return sum;
}

/* The objective t of the way along the direction d from x. */
static double objective_along(const struct problem *p, const double *x, const double *d, double t)
{
	size_t rows_n = (size_t)p->rows_n;
	double loss = 0.5 * p->penalty * squares(p, x, d, t);

	for (size_t i = 0; i < p->matrix->rows_n; i++) {
		double *scores = p->scratch + i * rows_n;
		for (size_t r = 0; r < rows_n; r++)
			scores[r] = p->margins[i * rows_n + r] + t * p->moves[i * rows_n + r];
		loss += text_loss(scores, p->rows_n, p->matrix->labels[i], NULL);
	}
	return loss;
}

/* The gradient at x, whose margins are there; fills the shares. Returns the objective. */
static double gradient(const struct problem *p, const double *x, double *out)
{
	size_t rows_n = (size_t)p->rows_n;
	double loss = 0.5 * p->penalty * squares(p, x, x, 0.0);

	for (size_t i = 0; i < p->matrix->rows_n; i++) {
		double *shares = p->shares + i * rows_n, *residuals = p->scratch + i * rows_n;
		int label = p->matrix->labels[i];
		loss += text_loss(p->margins + i * rows_n, p->rows_n, label, shares);
		for (size_t r = 0; r < rows_n; r++)
			residuals[r] = shares[r] - (rows_n == 1 ? label : (int)r == label);
	}
	multiply_back(p, p->scratch, x, out);
	return loss;
}

/* out = the Hessian at the point of the shares, times v. */
static void hessian_times(const struct problem *p, const double *v, double *out)
{
	size_t rows_n = (size_t)p->rows_n;

	multiply(p, v, p->scratch);
	for (size_t i = 0; i < p->matrix->rows_n; i++) {
		double *z = p->scratch + i * rows_n, mean = 0.0;
		const double *shares = p->shares + i * rows_n;
		for (size_t r = 0; r < rows_n; r++)
			mean += shares[r] * z[r]; /* of one row: the other class has 0 */
		for (size_t r = 0; r < rows_n; r++)
			z[r] = shares[r] * (z[r] - mean);
	}
	multiply_back(p, p->scratch, v, out);
}

/* Solves Hessian × d = -g nearly: conjugate gradients until the rest is `enough` of g's norm. work: 3 n numbers. */
static void find_direction(const struct problem *p, const double *g, double *d, double enough, double *work)
{
	double *rest = work, *way = work + p->n, *product = work + 2 * p->n;
	double square = dot(g, g, p->n), target = enough * enough * square;

	for (size_t i = 0; i < p->n; i++) {
		d[i] = 0.0;
		rest[i] = way[i] = -g[i];
	}
	for (size_t step = 0; step < 2 * p->n && square > target; step++) {
		hessian_times(p, way, product);
		double curvature = dot(way, product, p->n);
		if (!(curvature > 0.0))
			return;
		double length = square / curvature, before = square;
		for (size_t i = 0; i < p->n; i++) {
			d[i] += length * way[i];
			rest[i] -= length * product[i];
		}
		square = dot(rest, rest, p->n);
		for (size_t i = 0; i < p->n; i++)
			way[i] = rest[i] + square / before * way[i];
	}
}

/* Goes along d as far as the objective falls enough (Armijo). False: it does not any more. */
static bool move(const struct problem *p, double *x, const double *d, double slope, double loss)
{
	double t, rounding = 1e-13 * fabs(loss);
	size_t margins_n = p->matrix->rows_n * (size_t)p->rows_n;

	multiply(p, d, p->moves);
	for (int i = 0; i < HALVINGS_MAX; i++) {
		t = ldexp(1.0, -i);
		if (!(objective_along(p, x, d, t) <= loss + 1e-4 * t * slope + rounding))
			continue;
		for (size_t k = 0; k < p->n; k++)
			x[k] += t * d[k];
		for (size_t k = 0; k < margins_n; k++)
			p->margins[k] += t * p->moves[k];
		return true;
	}
	return false;
}

/* From x = 0 to the minimum. work: 5 n numbers. Returns the gradient's norm over that at the start. */
static double minimise(const struct problem *p, double *x, double *work, const struct text_options *options)
{
	double *g = work, *d = work + p->n, first = 0.0, best = HUGE_VAL;
	int stuck = 0;

	for (int step = 0; step < STEPS_MAX; step++) {
		multiply(p, x, p->margins);
		double loss = gradient(p, x, g), norm = sqrt(dot(g, g, p->n));
		if (step == 0)
			first = norm;
		if (!(norm > 0.0) || norm <= GRADIENT_ENOUGH * first)
			return first > 0.0 ? norm / first : 0.0;
		stuck = norm < 0.5 * best ? 0 : stuck + 1;
		best = norm < best ? norm : best;
		if (stuck > 3 && best <= GRADIENT_NEAR * first)
			break;
		text_tell(options, "fitting", (size_t)(100.0 * log(norm / first) / log(GRADIENT_ENOUGH)), 100);
		find_direction(p, g, d, fmin(0.1, sqrt(norm / first)), work + 2 * p->n);
		if (!move(p, x, d, dot(g, d, p->n), loss))
			break;
	}
	return best / first;
}

enum status text_fit_logistic(const struct text_matrix *matrix, double c, const struct text_options *options,
			      double *weights, double *intercepts, struct err *err)
{
	struct problem p = {.matrix = matrix, .penalty = 1.0 / c, .width = matrix->terms_n + 1};
	enum status status = STATUS_OK;

	p.rows_n = matrix->classes_n == 2 ? 1 : matrix->classes_n;
	p.n = (size_t)p.rows_n * p.width;
	size_t margins_n = matrix->rows_n * (size_t)p.rows_n;
	double *points = calloc(p.n, 6 * sizeof(double)), *margins = calloc(margins_n, 4 * sizeof(double));
	if (!points || !margins) {
		status = err_set(err, STATUS_NO_MEMORY, "There is not enough memory to fit %zu weights.", p.n);
		goto out;
	}
	p.margins = margins;
	p.moves = margins + margins_n;
	p.shares = margins + 2 * margins_n;
	p.scratch = margins + 3 * margins_n;
	double rest = minimise(&p, points, points + p.n, options);
	if (!(rest <= GRADIENT_NEAR))
		status = err_set(err, STATUS_INTERNAL,
				 "The logistic regression does not converge (gradient %.1e of its start).", rest);
	for (int r = 0; r < p.rows_n; r++) {
		memcpy(weights + (size_t)r * matrix->terms_n, points + (size_t)r * p.width,
		       matrix->terms_n * sizeof(double));
		intercepts[r] = points[(size_t)r * p.width + matrix->terms_n];
	}
out:
	free(points);
	free(margins);
	return status;
}
