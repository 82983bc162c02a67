/**
 * Runs a model with states as the job says: each entry of `plan` is an input, or null for a reset.
 * Nothing is awaited before the last entry, so that the queue must keep the order.
 */
export default async function ({ url, options, plan, sync = false }, io) {
  const { load } = await import(url);
  const model = await load(options);
  const x = (k) => ({ x: new Float32Array(plan[k]) });
  const results = plan.map((entry, k) => {
    if (entry === null) return model.reset();
    return sync ? model.runSync(x(k)) : model.run(x(k));
  });
  const outputs = [];
  for (const result of await Promise.all(results)) {
    if (result)
      outputs.push(
        Object.fromEntries(Object.entries(result).map(([name, { data }]) => [name, [...data]])),
      );
  }
  const { states } = model;
  model.dispose();
  return { outputs, states };
}
