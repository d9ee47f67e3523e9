// The two gradients of a depthwise convolution on bfloat16 maps in channels-last order, sixteen
// channels at a time in AVX-512. Compiled and called by depthwise.py, which checks the arguments.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <immintrin.h>
#include <torch/library.h>

namespace {

constexpr int64_t LANES = 16;  // floats in one AVX-512 register

struct Geometry {
  int64_t batch, rows, cols, channels, out_rows, out_cols, stride, padding;
};

// A bfloat16 is the upper half of the float of the same value.
inline __m512 widen(const at::BFloat16* values) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// gradient[c, i, j] = sum over batch, h, w of grad[h, w, c] * input[h*stride-padding+i, ..+j, c],
// summed in float. One thread has sixteen channels; one row of the filter stays in registers.
template <int K>
void weight_rows(const at::BFloat16* input, const at::BFloat16* grad, float* gradient,
                 const Geometry& g, int64_t channel) {
  for (int i = 0; i < K; i++) {
    __m512 sums[K];
    for (int j = 0; j < K; j++) sums[j] = _mm512_setzero_ps();
    for (int64_t b = 0; b < g.batch; b++) {
      for (int64_t h = 0; h < g.out_rows; h++) {
        const int64_t row = h * g.stride - g.padding + i;
        if (row < 0 || row >= g.rows) continue;
        const at::BFloat16* in = input + (b * g.rows + row) * g.cols * g.channels + channel;
        const at::BFloat16* out =
            grad + (b * g.out_rows + h) * g.out_cols * g.channels + channel;
        for (int64_t w = 0; w < g.out_cols; w++) {
          const int64_t first = w * g.stride - g.padding;
          const __m512 value = widen(out + w * g.channels);
          if (first >= 0 && first + K <= g.cols) {  // no tap hangs over the border
            for (int j = 0; j < K; j++)
              sums[j] = _mm512_fmadd_ps(widen(in + (first + j) * g.channels), value, sums[j]);
          } else {
            for (int j = 0; j < K; j++)
              if (first + j >= 0 && first + j < g.cols)
                sums[j] = _mm512_fmadd_ps(widen(in + (first + j) * g.channels), value, sums[j]);
          }
        }
      }
    }
    float lanes[LANES];
    for (int j = 0; j < K; j++) {
      _mm512_storeu_ps(lanes, sums[j]);
      for (int lane = 0; lane < LANES; lane++)
        gradient[((channel + lane) * K + i) * K + j] = lanes[lane];
    }
  }
}

// gradient[y, x, c] = sum over the taps (i, j) that read it of grad[(y+padding-i)/stride, .., c] *
// weight[i, j, c], where that place is on the grid of the output.
template <int K>
void input_row(const at::BFloat16* grad, const float* weight, float* gradient, const Geometry& g,
               int64_t batch_row) {
  const int64_t b = batch_row / g.rows, y = batch_row % g.rows;
  for (int64_t x = 0; x < g.cols; x++) {
    for (int64_t channel = 0; channel < g.channels; channel += LANES) {
      __m512 sum = _mm512_setzero_ps();
      for (int i = 0; i < K; i++) {
        const int64_t h = y + g.padding - i;
        if (h < 0 || h % g.stride || h / g.stride >= g.out_rows) continue;
        for (int j = 0; j < K; j++) {
          const int64_t w = x + g.padding - j;
          if (w < 0 || w % g.stride || w / g.stride >= g.out_cols) continue;
          const int64_t place = (b * g.out_rows + h / g.stride) * g.out_cols + w / g.stride;
          sum = _mm512_fmadd_ps(widen(grad + place * g.channels + channel),
                                _mm512_loadu_ps(weight + (i * K + j) * g.channels + channel), sum);
        }
      }
      _mm512_storeu_ps(gradient + (batch_row * g.cols + x) * g.channels + channel, sum);
    }
  }
}

template <int K>
void all_weights(const at::Tensor& input, const at::Tensor& grad, at::Tensor& gradient,
                 const Geometry& g) {
  at::parallel_for(0, g.channels / LANES, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++)
      weight_rows<K>(input.const_data_ptr<at::BFloat16>(), grad.const_data_ptr<at::BFloat16>(),
                     gradient.data_ptr<float>(), g, block * LANES);
  });
}

template <int K>
void all_inputs(const at::Tensor& grad, const at::Tensor& weight, at::Tensor& gradient,
                const Geometry& g) {
  at::parallel_for(0, g.batch * g.rows, 4, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++)
      input_row<K>(grad.const_data_ptr<at::BFloat16>(), weight.const_data_ptr<float>(),
                   gradient.data_ptr<float>(), g, row);
  });
}

// input (B, H, W, C) and grad (B, H', W', C), bfloat16, contiguous; gives float (C, 1, K, K).
at::Tensor weight_gradient(const at::Tensor& input, const at::Tensor& grad, int64_t kernel,
                           int64_t stride, int64_t padding) {
  const Geometry g{input.size(0), input.size(1), input.size(2), input.size(3),
                   grad.size(1),  grad.size(2),  stride,        padding};
  at::Tensor gradient =
      at::empty({g.channels, 1, kernel, kernel}, input.options().dtype(at::kFloat));
  if (kernel == 3) all_weights<3>(input, grad, gradient, g);
  else if (kernel == 5) all_weights<5>(input, grad, gradient, g);
  else if (kernel == 7) all_weights<7>(input, grad, gradient, g);
  else TORCH_CHECK(false, "a kernel of 3, 5 or 7 is expected, got ", kernel);
  return gradient;
}

// grad (B, H', W', C), bfloat16, and weight (K, K, C), float, contiguous; gives float (B, H, W, C).
at::Tensor input_gradient(const at::Tensor& grad, const at::Tensor& weight, int64_t rows,
                          int64_t cols, int64_t stride, int64_t padding) {
  const Geometry g{grad.size(0), rows,         cols,   grad.size(3),
                   grad.size(1), grad.size(2), stride, padding};
  at::Tensor gradient =
      at::empty({g.batch, rows, cols, g.channels}, grad.options().dtype(at::kFloat));
  const int64_t kernel = weight.size(0);
  if (kernel == 3) all_inputs<3>(grad, weight, gradient, g);
  else if (kernel == 5) all_inputs<5>(grad, weight, gradient, g);
  else if (kernel == 7) all_inputs<7>(grad, weight, gradient, g);
  else TORCH_CHECK(false, "a kernel of 3, 5 or 7 is expected, got ", kernel);
  return gradient;
}

}  // namespace

TORCH_LIBRARY(pneumoseg_depthwise, library) {
  library.def("weight_gradient(Tensor input, Tensor grad, int kernel, int stride, int padding) -> Tensor",
              &weight_gradient);
  library.def("input_gradient(Tensor grad, Tensor weight, int rows, int cols, int stride, int padding) -> Tensor",
              &input_gradient);
}
