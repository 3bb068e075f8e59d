"""Train the transformer on coupled noise, resumable. Usage: train_coupled.py ICONS OUT HOURS POOL

OUT/state2.pt is resumed when it is there; else OUT/state.pt's averaged weights are the start. OUT/stop ends the run.
"""
import copy, math, os, random, sys, time
import multiprocessing as mp
from pathlib import Path
import numpy as np, torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from data import COLOURS, PLACES, Sprites, say
from scenes import couple, scene
import torch.optim._muon as _muon
from train_dit import bare, forward, make_te, make_tokenizer
couple_noise = couple

def newton_schulz(grad, coefficients, steps, eps):
    """Muon's orthogonalisation in fp32: bf16 products are some fifty times slower on a processor without them."""
    a, b, c = coefficients; x = grad.T if grad.size(0) > grad.size(1) else grad.clone()
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        g = x @ x.T; x = torch.addmm(x, torch.addmm(g, g, g, beta=b, alpha=c), x, beta=a)
    return x.T if grad.size(0) > grad.size(1) else x


_muon._zeropower_via_newtonschulz = newton_schulz
SIZES = {(192, 192): .86, (256, 144): .07, (144, 256): .07}

def bf16_is_faster():
    def took(dt):
        a = torch.randn(512, 512, dtype=dt); a @ a; t = time.perf_counter()
        for _ in range(10): a @ a
        return time.perf_counter() - t
    return min(took(torch.bfloat16) for _ in range(3)) < .8 * min(took(torch.float32) for _ in range(3))

def says_ground(scene, caption):
    """Whether a caption names the scene's background or place."""
    words = (scene.background, COLOURS[scene.background][0]) if scene.background else (*PLACES[scene.place][1], *PLACES[scene.place][2])
    return any(word in caption for word in words)

def make_pool(args):
    icons, out, n, seed = args
    torch.set_num_threads(1)
    vae = AutoencoderKL.from_pretrained(out / "vae").eval(); sp, r = Sprites(icons), random.Random(seed); got = {}
    for (w, h), share in SIZES.items():
        zs, scs, us = [], [], []
        for _ in range(int(n * share) // 16):
            d = [scene(r, sp, w, h, .95) for _ in range(16)]
            x = torch.stack([torch.from_numpy(np.asarray(im).copy()).permute(2, 0, 1) for im, _, _ in d]).float() / 127.5 - 1
            with torch.no_grad(): z = vae.encode(x).latent_dist.mean.float()
            zs.append(((z - vae.config.shift_factor) * vae.config.scaling_factor).bfloat16()); scs += [s for _, s, _ in d]; us += [f.tensor() for _, _, f in d]
        got[w, h] = torch.cat(zs), scs, torch.stack(us)
    return got

def main():
    icons, out, hours, pool_n = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    torch.manual_seed(int(time.time())); torch.set_num_threads(2); r = random.Random()
    sp = Sprites(icons); cache = out / "pool2.pt"
    if cache.exists(): pool = torch.load(cache, weights_only=False)
    else:
        with mp.get_context("spawn").Pool(2) as p: parts = p.map(make_pool, [(icons, out, pool_n // 8, s) for s in range(21, 29)], 1)
        pool = {k: (torch.cat([q[k][0] for q in parts]), sum((q[k][1] for q in parts), []), torch.cat([q[k][2] for q in parts])) for k in SIZES}
        torch.save(pool, out / "pool2.tmp"); os.replace(out / "pool2.tmp", cache)
    # A mirrored half of the scenes made sums of both sides of things that have two: one side is enough.
    for k, (z, scs, us) in pool.items():
        own = us[:, 2] < .5; us = us[own].clone(); us[:, 2] = torch.rand(len(us))
        pool[k] = z[own], [s for s, o in zip(scs, own.tolist()) if o], us
    half = bf16_is_faster()
    print("pool", {k: len(v[0]) for k, v in pool.items()}, "bf16", half, flush=True)
    tok = make_tokenizer(sp); te = make_te(tok); te.load_state_dict(torch.load(out / "te.pt")); te.requires_grad_(False)
    dit = ZImageTransformer2DModel(in_channels=16, dim=192, n_layers=7, n_refiner_layers=1, n_heads=3, n_kv_heads=3, cap_feat_dim=160, axes_dims=[16, 24, 24], axes_lens=[1024, 64, 64])
    mine = out / "state2.pt"
    s = torch.load(mine if mine.exists() else out / "state.pt", weights_only=False)
    first = "dit" not in s
    dit.load_state_dict({k[4:]: v.float() for k, v in s["ema"].items() if k.startswith("dit.")} if first else s["dit"])
    step, done = (0, 0.) if first else (s["step"], s["seconds"])
    ema = {k: v.detach().clone() for k, v in dit.state_dict().items()} if first else s["ema"]
    hidden = [p for n, p in dit.named_parameters() if p.ndim == 2 and ("layers." in n or "refiner" in n) and "adaLN" not in n]; ids = {id(p) for p in hidden}
    rest = [p for p in dit.parameters() if id(p) not in ids]
    LR = float(os.environ.get("LR", 1.5e-3))
    opts = [torch.optim.Muon(hidden, lr=LR, momentum=.95, weight_decay=.01, adjust_lr_fn="match_rms_adamw"), torch.optim.AdamW(rest, lr=LR, betas=(.9, .98), weight_decay=0.)]
    if not first:
        for o, d in zip(opts, s["opts"]): o.load_state_dict(d)
    def encode(texts):
        chats = [tok.apply_chat_template([{"role": "user", "content": t}], tokenize=False, add_generation_prompt=True, enable_thinking=True) for t in texts]
        e = tok(chats, padding=True, return_tensors="pt"); L = e.input_ids.shape[1]; L += -L % 32
        e = tok(chats, padding="max_length", max_length=L, return_tensors="pt")
        with torch.no_grad(): f = te(input_ids=e.input_ids, attention_mask=e.attention_mask, output_hidden_states=True).hidden_states[-2]
        return f, e.attention_mask.bool()
    weights = {}
    def batch(n):
        k = r.choices(list(SIZES), SIZES.values())[0]; z, scs, us = pool[k]
        if k not in weights: weights[k] = torch.tensor([2. if s.background in ("red", "brown") else 1. for s in scs])
        i = torch.multinomial(weights[k], n, replacement=True); caps = []
        for j in i.tolist():
            own = r.random() < .5
            for _ in range(12):
                c = say(r, sp, scs[j])
                if len(tok(c).input_ids) <= 24 and (not own or any(x > "\u4e00" for x in c)): break
            caps.append(c if len(tok(c).input_ids) <= 25 else tok.decode(tok(c).input_ids[:24]))
        # What the caption says is not for the noise to say: at inference the two know nothing of each other.
        u = us[i].clone()
        for n, (j, c) in enumerate(zip(i.tolist(), caps)):
            if says_ground(scs[j], c.lower()): u[n, 3] = torch.rand(())
            if c: u[n, 5] = torch.rand(())
        return z[i].float(), caps, u
    for l in [*dit.layers, *dit.noise_refiner, *dit.context_refiner]: l.compile(dynamic=False)
    B = int(os.environ.get("B", 32)); t1 = last = time.time(); log, log0 = [], []
    def save():
        m = bare(dit); m.load_state_dict(ema); bf = torch.bfloat16
        ZImagePipeline(scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=float(os.environ.get("SHIFT", 1.0))), vae=AutoencoderKL.from_pretrained(out / "vae").to(bf), text_encoder=copy.deepcopy(te).to(bf), tokenizer=tok, transformer=m.to(bf)).save_pretrained(out / "model", safe_serialization=True)
        torch.save({"dit": {k: v.clone() for k, v in dit.state_dict().items()}, "ema": ema, "opts": [o.state_dict() for o in opts], "step": step, "seconds": done + time.time() - t1}, out / "state2.tmp")
        os.replace(out / "state2.tmp", mine)
    start = step
    while time.time() - t1 < hours * 3600 and not (out / "stop").exists():
        # a constant rate for most of the run; DECAY_FROM/DECAY_TO (steps) bring it down at the end
        a, b = int(os.environ.get("DECAY_FROM", 10**9)), int(os.environ.get("DECAY_TO", 2 * 10**9))
        lr = LR * min(1, (step + 1) / 60) * min(1, max(.02, (b - step) / (b - a)))
        for o in opts:
            for g in o.param_groups: g["lr"] = lr
        z, caps, u = batch(B); noise = couple_noise(torch.randn_like(z), u)
        t = torch.rand(B); t = torch.where(torch.rand(B) < .4, torch.rand(B) * .2, t)
        tt = t.view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            v = forward(dit, tt * z + (1 - tt) * noise, t, encode(caps)).float()
        err = ((v - (z - noise)) ** 2).mean((1, 2, 3)); loss = err.mean()
        for o in opts: o.zero_grad()
        loss.backward(); torch.nn.utils.clip_grad_norm_(dit.parameters(), 1.)
        for o in opts: o.step()
        step += 1; log.append(loss.item()); log0 += err[t < .1].tolist(); log, log0 = log[-200:], log0[-400:]
        d = min(.997, (step + 1) / (step + 20))
        for k, p in dit.state_dict().items(): ema[k].lerp_(p, 1 - d) if p.is_floating_point() else ema[k].copy_(p)
        if step % 10 == 0: print(f"{step} {time.time() - t1:.0f}s loss {np.mean(log[-50:]):.4f} near noise {np.mean(log0[-200:]):.4f} {(time.time() - t1) / (step - start):.2f} s/step", flush=True)
        if time.time() - last > 300: save(); last = time.time()
    save()
if __name__ == "__main__": main()
