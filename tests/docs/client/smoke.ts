// What somebody would write with the client that was generated from the document. That it compiles says that the document
// has the names and the types; that it runs, that the service has them too.
//
// One line for each check: "ok NAME" or "FAIL NAME: WHY". Settings: BASE_URL, API_KEY.
import {
	addTask, analyze, analyzeBatch, cancelTask, getBatch, getHealth, getMe, getPrediction, getTask, infer, listAnalyses,
	listenToTask, listTasks, login, logout, predict, predictWithModel, register,
} from './generated';
import type { Analysis, Prediction, Task, User, ValidationError } from './generated';
import { client } from './generated/client.gen';

declare const process: { env: Record<string, string | undefined>; exitCode: number };

function check(name: string, good: boolean, why?: unknown): void {
	console.log(good ? `ok ${name}` : `FAIL ${name}: ${JSON.stringify(why)}`);
	if (!good) process.exitCode = 1;
}

async function until<T>(what: () => Promise<T | undefined>): Promise<T | undefined> {
	const end = Date.now() + 120_000;
	for (;;) {
		const value = await what();
		if (value !== undefined || Date.now() > end) return value;
		await new Promise(resolve => setTimeout(resolve, 50));
	}
}

async function usePredictions(): Promise<void> {
	const health = await getHealth();
	check('health', health.data?.status === 'healthy', health.error);

	const made = await predict({ body: { features: [1, 2, 6] } });
	const prediction: Prediction | undefined = made.data;
	check('a prediction, with the key', made.response.status === 201 && prediction?.result === 3, made.error);
	const read = await getPrediction({ path: { prediction_id: prediction?.prediction_id ?? '' } });
	check('it is stored', read.data?.id === prediction?.prediction_id, read.error);

	const refused = await predict({ body: { features: [] } });
	const why = refused.error as ValidationError | undefined;
	check('what is wrong has a type', refused.response.status === 422 && why?.detail[0]?.type === 'too_short' &&
		why.detail[0].loc[1] === 'features', why);

	const named = await predictWithModel({ path: { name: 'mean' }, body: { instances: [[1, 2], [3, 4]] } });
	check('many at once', named.data !== undefined && 'predictions' in named.data && named.data.predictions.length === 2, named.error);
	const tensors = await infer({
		path: { name: 'mean' },
		body: { inputs: [{ name: 'features', shape: [1, 2], datatype: 'FP64', data: [1, 2] }] },
	});
	check('tensors', tensors.response.status === 200, tensors.error);
}

async function logIn(): Promise<string> {
	const person = { username: 'generated', email: 'generated@example.com', password: 'testpass123' };
	const unknown = await getMe({ auth: undefined });
	check('nobody without a token', unknown.response.status === 401 && unknown.error !== undefined, unknown.data);
	const made = await register({ body: person });
	const user: User | undefined = made.data;
	check('register', made.response.status === 201 && user?.username === 'generated' && user.is_active, made.error);
	const wrong = await login({ body: { username: person.username, password: 'wrong' } });
	check('a wrong password', wrong.response.status === 401, wrong.data);
	const tokens = await login({ body: { username: person.username, password: person.password } });
	check('login', tokens.data?.token_type === 'bearer', tokens.error);
	return tokens.data?.access_token ?? '';
}

async function useSentiment(): Promise<void> {
	const one = await analyze({ body: { text: 'I love this product!' } });
	const analysis: Analysis | undefined = one.data;
	check('analyze', analysis?.sentiment === 'positive' && analysis.confidence > 0.5, one.error);

	const batch = await analyzeBatch({ body: { texts: ['I love it', 'Waste of money'] } });
	const task_id = batch.data?.task_id ?? '';
	check('a batch is taken', batch.response.status === 202 && batch.data?.status === 'pending', batch.error);
	const done = await until(async () => {
		const { data } = await getBatch({ path: { task_id } });
		return data?.status === 'completed' ? data : undefined;
	});
	check('and done', done?.result?.map(row => row.sentiment).join() === 'positive,negative', done);
	const history = await listAnalyses({ query: { limit: 10 } });
	check('the history', history.data?.length === 3, history.error);
}

async function useTasks(): Promise<void> {
	const added = await addTask({ body: { kind: 'echo', payload: { hello: 'world' } } });
	const task_id = added.data?.task_id ?? '';
	check('a task', added.response.status === 202 && added.data?.kind === 'echo', added.error);

	const states: string[] = [];
	const { stream } = await listenToTask({ path: { task_id } });
	for await (const event of stream) states.push((event as unknown as Task).status);
	check('its events, up to its end', states[states.length - 1] === 'completed', states);
	const task = await getTask({ path: { task_id } });
	check('its result', JSON.stringify(task.data?.result) === '{"hello":"world"}', task.data ?? task.error);

	const later = await addTask({ body: { kind: 'echo', delay_seconds: 3600 } });
	const cancelled = await cancelTask({ path: { task_id: later.data?.task_id ?? '' } });
	check('it can be cancelled', cancelled.data?.status === 'cancelled', cancelled.error);
	const tasks = await listTasks({ query: { kind: 'echo', limit: 1 } });
	check('lists have pages', tasks.data?.tasks.length === 1 && tasks.data.next_cursor !== null, tasks.error);
}

async function main(): Promise<void> {
	let token = '';
	client.setConfig({
		baseUrl: process.env.BASE_URL,
		auth: scheme => (scheme.type === 'apiKey' ? (token ? undefined : process.env.API_KEY) : token || undefined),
	});
	await usePredictions();
	token = await logIn();
	const me = await getMe();
	check('who I am', me.data?.username === 'generated', me.error);
	await useSentiment();
	await useTasks();
	const out = await logout();
	check('logout', out.response.status === 204, out.error);
	const gone = await getMe();
	check('the token is good no more', gone.response.status === 401, gone.data);
}

void main();
