"""EchoCLIP ready for use: frames and texts in, embeddings of unit length out.

encoder = load_encoder("weights/echoclip")
frames = encoder.embed_frames(video)                    # uint8 (t, h, w, c) -> (t, 512)
texts = encoder.embed_texts(["WALL", "NOTHING"])        # (2, 512)
"""

import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from echojax import clips, video
from echojax.data import padded_blocks
from echojax.echoclip import images
from echojax.echoclip.tokenizer import CONTEXT_LENGTH, tokenize
from echojax.errors import UserError
from echojax.models import functional
from echojax.networks import Network, abstract_network, load_network
from echojax.preprocessing import Preprocessing
from echojax.train.mesh import make_mesh, put_batch

HOW_TO_GET_WEIGHTS = (
    "echojax port open_clip_pytorch_model.bin {} (EchoCLIP's weights are not part of echojax: download that file from "
    "https://huggingface.co/mkaichristensen/echo-clip)"
)


class Encoder:
    """An EchoCLIP network with its compiled programs: one for frames of each size, one for each length of texts.

    Args:
      network: of the family "echoclip".
      preprocessing: its size in pixels, mean and standard deviation.
      producer: where the weights came from, in words; features are resumed only with the same.
      batch_size: images per forward pass, rounded up to what the devices divide. It changes no result.
    """

    def __init__(self, network: Network, preprocessing: Preprocessing, producer: str, batch_size: int = 32):
        if network.description["family"] != "echoclip":
            raise UserError(f"{producer} holds a {network.description['family']} network, expected EchoCLIP")
        self.network, self.preprocessing, self.producer = network, preprocessing, producer
        self._mesh = make_mesh()
        self._batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
        self._embed_images = _make_embed_images(network, preprocessing)
        self._embed_tokens = _make_embed_tokens(network)
        self._embedded_texts: dict[tuple[str, ...], np.ndarray] = {}

    def embed_frames(self, frames: UInt8[np.ndarray, "t h w c"], *, zoom: bool = False) -> Float[np.ndarray, "t d"]:
        """Embeddings of the frames of a video, of unit length.

        Args:
          frames: RGB or grey levels, of any size: the shorter side is scaled to the network's, the middle cut out.
          zoom: cuts off a tenth on every side first, as EchoCLIP's zero-shot ejection fraction does.
        """
        if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[-1] not in (1, 3) or not len(frames):
            raise UserError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (t, h, w, 1 or 3), not empty")
        embeddings = []
        for block, num_real in padded_blocks(frames, self._batch_size):
            block = np.stack(block)
            if zoom:
                block = video.resize(images.zoom(block), *self.preprocessing.size, method="cubic")
            batch = put_batch(self._mesh, block)
            embeddings.append(np.asarray(self._embed_images(self.network.params, self.network.stats, batch))[:num_real])
        return np.concatenate(embeddings)

    def embed_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Embeddings of texts, of unit length; what was asked once is remembered."""
        texts = tuple(texts)
        if texts not in self._embedded_texts:
            tokens = tokenize(texts, self.network.description.get("context_length", CONTEXT_LENGTH))
            # Attention is causal: beyond the longest text there is nothing to compute.
            longest = int(np.argmax(tokens, axis=-1).max()) + 1
            embeddings = self._embed_tokens(self.network.params, self.network.stats, tokens[:, :longest])
            self._embedded_texts[texts] = np.asarray(embeddings)
        return self._embedded_texts[texts]


def load_encoder(checkpoint_dir: str | os.PathLike, dtype: str | None = None, batch_size: int = 32) -> Encoder:
    """Opens EchoCLIP as `echojax port` wrote it.

    Args:
      checkpoint_dir: what `echojax port` was given as OUTPUT_DIR.
      dtype: "float32" or "bfloat16", in which the authors run it; None is what the checkpoint says, float32.
      batch_size: images per forward pass.

    Raises:
      UserError: there is no such checkpoint (the text says what to download, and from where), or it is another network.
    """
    network, preprocessing = load_network(str(checkpoint_dir), HOW_TO_GET_WEIGHTS.format(checkpoint_dir))
    if dtype is not None:
        like = abstract_network({**network.description, "dtype": dtype})
        network = like._replace(params=network.params, stats=network.stats)
    return Encoder(network, preprocessing, str(checkpoint_dir), batch_size)


def _make_embed_images(network: Network, preprocessing: Preprocessing):
    # Without the compiler options of training: they double the time of this forward pass on a CPU.
    @jax.jit
    def embed_images(params, stats, frames):
        frames = images.to_network_size(frames, preprocessing.size[0])
        x = clips.normalise(frames, preprocessing.mean, preprocessing.std)
        outputs, _ = functional.apply(network.definition, params, stats, x, train=False)
        return _to_unit_length(outputs["image_embedding"])

    return embed_images


def _make_embed_tokens(network: Network):
    @jax.jit
    def embed_tokens(params, stats, tokens):
        model = functional.merge(network.definition, params, stats)
        return _to_unit_length(model.encode_text(tokens))

    return embed_tokens


def _to_unit_length(embeddings):
    return embeddings / jnp.linalg.norm(embeddings, axis=-1, keepdims=True)
